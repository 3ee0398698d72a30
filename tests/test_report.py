"""The report is one whole file: it shows the data, escapes it, and asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from _quick import make_blobs, quick
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from sklearn_dsink.inspection import find_label_issues
from sklearn_dsink.plots import LabelQualityDisplay
from sklearn_dsink.report import _imbalance, render_report, write_report

EVIL = "<script>alert(1)</script>"


class FakeFit(BaseEstimator):
    """The fitted attributes of a DSinkClassifier, over classes with the names given."""

    def __init__(self, names=("a", "b", "c"), index_name=None):
        self.names = names
        self.index_name = index_name

    def fit(self, X, y=None):
        rng = np.random.default_rng(0)
        n_classes = len(self.names)
        y = rng.integers(0, n_classes, 60)
        proba = rng.dirichlet(np.ones(n_classes), 60) * 0.5 + 0.5 * np.eye(n_classes)[y]
        self.y = np.asarray(self.names)[np.where(rng.random(60) < 0.2, (y + 1) % n_classes, y)]
        self.classes_ = np.asarray(self.names)
        self.n_features_in_ = 4
        self.surrogate_labels_ = self.imb_aux_proba_ = self.noise_aux_proba_ = proba
        self.noise_matrix_ = 0.9 * np.eye(n_classes) + 0.1 / n_classes
        self.history_ = [{"epoch": 1, "train_loss": 1.0, "dur": 0.25}]
        return self

    def label_issues(self):
        return find_label_issues(
            self.y,
            self.surrogate_labels_,
            classes=self.classes_,
            noise_proba=self.noise_aux_proba_,
            imb_proba=self.imb_aux_proba_,
            index=pd.Index([f"id {i} <b>" for i in range(60)], name=self.index_name),
        )


class Tags(HTMLParser):
    """Collect what a browser would see: tags with their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def evil_page():
    model = FakeFit((EVIL, 'b" onmouseover="alert(2)', "$\\frac{$ {{ 7*7 }}"), EVIL).fit(None)
    return render_report(model, title=EVIL, scores={EVIL: 0.5, "accuracy": 0.75})


def test_user_strings_are_shown_and_not_run(evil_page):
    seen = Tags(evil_page)
    assert [tag for tag, _ in seen.tags].count("script") == 1
    assert "alert" not in " ".join(name for _, attrs in seen.tags for name in attrs)
    assert not any("onmouseover" in attrs for _, attrs in seen.tags)
    assert EVIL in "".join(seen.text)
    assert "{{ 7*7 }}" in "".join(seen.text)
    assert "<b>" not in "".join(re.findall(r"id \d+ (<b>)", evil_page))


def test_only_the_reports_own_script_may_run(evil_page):
    (script,) = re.findall(r"<script>(.*?)</script>", evil_page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(
        attrs["content"] for tag, attrs in Tags(evil_page).tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_nothing_is_fetched(evil_page):
    for tag, attrs in Tags(evil_page).tags:
        for name in ("src", "href"):
            if name in attrs:
                assert attrs[name].startswith(("#", "data:image/png;base64,")), (tag, attrs)
    assert "url(" not in evil_page
    assert "@import" not in evil_page


def test_the_file_holds_issues_pictures_settings_and_versions(tmp_path):
    model = FakeFit().fit(None)
    path = write_report(model, tmp_path / "report.html", max_issues=10)
    page = path.read_text(encoding="utf-8")
    seen = Tags(page)
    assert [tag for tag, _ in seen.tags].count("img") == 4
    rows = [attrs for tag, attrs in seen.tags if tag == "tr" and "data-words" in attrs]
    assert len(rows) == 10
    worst = model.label_issues().index[0]
    assert rows[0]["data-words"].startswith(worst)
    for words in ("Settings", "Versions", "Timings", "Classes that bleed into others", "torch"):
        assert words in page
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_issues_may_be_joined_and_cut():
    X, y, _ = make_blobs(flip=0.2)
    clf = quick().fit(X, y)
    issues = clf.label_issues()
    whole = " ".join(Tags(render_report(clf)).text)
    joined = issues.join(issues[["quality"]].rename(columns={"quality": "again"}))
    for some in (joined, issues[issues["is_issue"]]):
        some.attrs.clear()  # as joining does, in some releases of pandas
        text = " ".join(Tags(render_report(clf, issues=some)).text)
        for card in ("labels flagged", "of the flags wrong, by its own estimate"):
            assert text[text.index(card) :][:60] == whole[whole.index(card) :][:60]
    few = FakeFit().fit(None)
    with pytest.raises(ValueError, match="issues has 3 rows and surrogate_labels_ has 60"):
        render_report(few, issues=few.label_issues().head(3))


def test_long_strings_are_cut():
    page = render_report(FakeFit(("x" * 5000, "b")).fit(None))
    assert "x" * 300 not in page


def test_columns_and_displays_of_the_user_are_cut_and_may_have_any_name():
    model = FakeFit().fit(None)
    issues = model.label_issues()
    issues["x" * 5000] = "seen"
    issues[7] = 1.5
    display = LabelQualityDisplay.from_issues(issues)
    page = render_report(
        model, issues=issues, displays=[("y" * 5000, "z" * 5000, display)], max_issues=2
    )
    assert not re.search("x{41}|y{81}|z{301}", page)
    cells = [attrs.get("data-label") for tag, attrs in Tags(page).tags if tag == "td"]
    assert cells.count("7") == cells.count("x" * 39 + "…") == 2
    assert "1.5" in Tags(page).text


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([3, 2], "1.5 : 1"),
        ([999.7, 1], "1,000 : 1"),
        ([2083, 1], "2,083 : 1"),
        ([5, 0], "a class is empty"),
    ],
)
def test_imbalance_is_written_as_people_read_it(counts, words):
    assert _imbalance(pd.Series(counts)) == words


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(NotFittedError):
        write_report(FakeFit(), path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_report(FakeFit().fit(None), tmp_path / "nowhere" / "report.html")
