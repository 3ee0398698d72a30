R=$1
cd /tmp/exp/run; export OMP_NUM_THREADS=1 PYTHONPATH=/tmp/exp/run; P=/work/main/.venv/bin/python; D="--data /work/shared/data"
M="D-SINK|D-SINK's target alone|f_N alone|f_L alone|f_N with refitted offsets|geometric mean of f_N and f_L|arithmetic mean of f_N and f_L|published, default auxiliaries"
IFS='|'; set -- $M; IFS=' '
A="hatespeech_crowd-own-real cifar10n-IF10-real banking77-IF10-symmetric0.4 krkopt-own-symmetric0.2 page_blocks-own-pair0.2 letter-IF20-joint0.2 satimage-IF50-symmetric0.4 digits-IF10-symmetric0.2 digits-IF50-symmetric0.4"
B="$($P -c "
import sys; sys.path.insert(0,'benchmarks'); from cells import CELLS
a=set('''$A'''.split()); print(*[c for c in CELLS if c not in a])")"
( $P benchmarks/accuracy.py $D --out /tmp/exp/n17/acc_a.csv --seeds 5 --revision $R --cells $A --methods "$@" > /tmp/exp/n17/a.log 2>&1; $P benchmarks/accuracy.py $D --made --seeds 3 --out /tmp/exp/n17/made_d.csv --revision $R --methods "$@" > /tmp/exp/n17/m.log 2>&1 ) &
( $P benchmarks/accuracy.py $D --out /tmp/exp/n17/acc_b.csv --seeds 5 --revision $R --cells $B --methods "$@" > /tmp/exp/n17/b.log 2>&1;  $P benchmarks/accuracy.py $D --held-out --seeds 3 --out /tmp/exp/n17/held_d.csv --revision $R --methods "$@" > /tmp/exp/n17/h.log 2>&1 ) &
wait; touch /tmp/exp/n17/DONE
