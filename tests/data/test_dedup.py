import hashlib
import os
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra_cli.data.corpus import Document, Tally, read_documents
from electra_cli.data.dedup import find_duplicates
from electra_cli.data.dedup_decide import EXACT, KEPT, LEADERS, NEAR, Scans, decide, like_leaders
from electra_cli.data.dedup_scan import EXACT_ENTRY, ScanFolder, Scanner, ScanRecord, finished_scan
from electra_cli.data.dedup_settings import DedupSettings
from electra_cli.data.pieces import plan_pieces, read_piece
from electra_cli.data.sources import CorpusSettings, find_sources
from electra_cli.data.workers import work_through
from electra_cli.errors import DataError
from electra_cli.reporting import Silent

REPOSITORY = Path(__file__).resolve().parents[2]
VOCABULARY = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te", "so") for b in ("na", "ver", "dim", "pos", "x")]


def sentence(dice, words):
    return " ".join(dice.choices(VOCABULARY, k=words))


def edited(dice, text, edits):
    """The text with so many of its words replaced, at random places."""
    words = text.split()
    for place in dice.sample(range(len(words)), edits):
        words[place] = f"edit{dice.randrange(10**6)}"
    return " ".join(words)


def planted(seed, *, originals=120):
    """Documents of which some are copies, or edited copies, of others, in random order."""
    dice = random.Random(seed)
    texts = [sentence(dice, dice.randint(100, 300)) for _ in range(originals)]
    copies = [dice.choice(texts) for _ in range(originals // 3)]
    near = [edited(dice, text, dice.choice([1, 1, 2, 3, 6])) for text in dice.choices(texts, k=originals)]
    far = [edited(dice, text, len(text.split()) // 4) for text in dice.sample(texts, originals // 3)]
    everything = texts + copies + near + far + ["too short", "too short", "so is this"]
    dice.shuffle(everything)
    return everything


def shingles_of(text, size=5):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def similarity(one, other):
    return len(one & other) / len(one | other) if one and other else 0.0


def scanned(folder, pieces, *, shingle=None):
    """Scans of pieces of texts."""
    scans = ScanFolder(folder, "sha256:recipe", shingle)
    scanner = Scanner(scans)
    records = [
        scanner.scan(number, (Document(text.split("\n"), "x", 1) for text in texts))
        for number, texts in enumerate(pieces)
    ]
    return Scans(scans, records)


def written_at_once(folder, pieces):
    """Scans of pieces of texts for exact duplicates, without waiting for the disk."""
    scans = ScanFolder(folder, "sha256:recipe", None)
    for number, texts in enumerate(pieces):
        entries = np.zeros(len(texts), dtype=EXACT_ENTRY)
        for entry, text in zip(entries, texts, strict=True):
            entry["digest"] = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u8")
        entries.tofile(scans.file(number))
    return Scans(scans, [ScanRecord(number, "", len(texts), "") for number, texts in enumerate(pieces)])


def cut(texts, number):
    """The texts in `number` pieces, some of them empty."""
    ends = np.linspace(0, len(texts), number + 1).astype(int).tolist()
    return [texts[start:end] for start, end in pairwise(ends)]


def slow_exact(texts):
    seen = set()
    again = [text in seen or bool(seen.add(text)) for text in texts]
    return [EXACT if found else KEPT for found in again]


@given(
    st.lists(st.sampled_from([f"text {number}" for number in range(12)]), max_size=60),
    st.integers(1, 7),
    st.integers(1, 9),
)
@settings(deadline=None, max_examples=25)
def test_exactly_the_later_copies_are_left_out(tmp_path_factory, texts, pieces, at_once):
    folder = tmp_path_factory.mktemp("dedup")
    scans = written_at_once(folder, cut(texts, pieces))
    found = decide(scans, folder / "work", threshold=None, at_once=at_once)
    assert found.tolist() == slow_exact(texts)
    assert not (folder / "work").exists()


@pytest.mark.parametrize("seed", [0, 1])
def test_near_duplicates_are_those_that_all_pairs_show(tmp_path, seed):
    """Against the true similarity of all pairs: what is nearly the same goes, what is clearly different stays."""
    texts = planted(seed)
    found = decide(scanned(tmp_path, cut(texts, 4), shingle=5), tmp_path / "work", threshold=0.8).tolist()
    exact = slow_exact(texts)
    shingles = [shingles_of(text) for text in texts]
    missed = wanted = wrong = 0
    for number, verdict in enumerate(found):
        assert (verdict == EXACT) == (exact[number] == EXACT)
        if verdict == EXACT:
            continue
        earlier = [similarity(shingles[number], other) for other in shingles[:number]]
        kept = [s for s, v in zip(earlier, found[:number], strict=True) if v == KEPT]
        if max(kept, default=0.0) >= 0.9:
            wanted += 1
            missed += verdict != NEAR
        if verdict == NEAR and max(earlier) < 0.7:
            wrong += 1
    assert wanted > 30
    assert missed <= wanted // 50
    assert wrong == 0
    assert Counter(found)[NEAR] >= wanted
    assert found[texts.index("too short")] == KEPT


def test_what_is_left_out_does_not_depend_on_how_the_corpus_is_cut_or_how_much_is_in_memory(tmp_path):
    texts = planted(2)
    expected = decide(scanned(tmp_path / "whole", [texts], shingle=5), tmp_path / "work", threshold=0.8).tolist()
    assert set(expected) == {KEPT, EXACT, NEAR}
    for pieces, at_once in ((1, 30), (5, 60), (12, 10_000)):
        scans = scanned(tmp_path / f"{pieces}", cut(texts, pieces), shingle=5)
        assert decide(scans, tmp_path / "work", threshold=0.8, at_once=at_once).tolist() == expected


def test_the_first_of_a_group_stays_whatever_the_order(tmp_path):
    dice = random.Random(3)
    text = sentence(dice, 300)
    group = [text, *(edited(dice, text, 2) for _ in range(9))]
    others = [sentence(dice, 200) for _ in range(20)]
    for turn in range(3):
        texts = group + others
        random.Random(turn).shuffle(texts)
        found = decide(scanned(tmp_path / f"{turn}", [texts], shingle=5), tmp_path / "work", threshold=0.7)
        kept = [text for text, verdict in zip(texts, found.tolist(), strict=True) if verdict == KEPT]
        assert kept == [text for text in texts if text in others or text == next(t for t in texts if t in group)]


def test_text_without_spaces_is_compared_by_characters(tmp_path):
    dice = random.Random(4)
    text = "".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(400))
    near = text[:200] + "改" + text[201:]
    other = "".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(400))
    found = decide(scanned(tmp_path, [[text, other, near]], shingle=5), tmp_path / "work", threshold=0.8)
    assert found.tolist() == [KEPT, KEPT, NEAR]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.booleans()), max_size=40))
@settings(deadline=None)
def test_documents_are_compared_with_the_leaders_of_their_run(rows):
    """Against a loop over each run; rows that were judged before stand in front of the new ones."""
    rows = sorted(rows, key=lambda row: (row[0], row[2]))
    run = np.array([row[0] for row in rows], dtype=np.int64)
    kind = np.array([row[1] for row in rows], dtype=np.int64)
    new = np.array([row[2] for row in rows], dtype=np.bool_)
    places = np.arange(len(rows))

    def alike(one, other):
        return abs(kind[one] - kind[other]) <= 1

    expected = []
    for number, (group, like, judged) in enumerate(rows):
        leaders = [i for i in range(number) if rows[i][0] == group and not expected[i]]
        expected.append(judged and any(abs(rows[i][1] - like) <= 1 for i in leaders[:LEADERS]))
    assert like_leaders(run, places, new, alike=alike).tolist() == expected


def test_a_run_of_unlike_documents_costs_a_bounded_number_of_comparisons():
    number, pairs = 3000, 0

    def alike(one, other):
        nonlocal pairs
        pairs += len(one)
        return np.zeros(len(one), dtype=np.bool_)

    zeros = np.zeros(number, dtype=np.int64)
    assert not like_leaders(zeros, np.arange(number), np.ones(number, dtype=np.bool_), alike=alike).any()
    assert pairs <= LEADERS * number


DECIDE = """
import resource, sys
from pathlib import Path
from electra_cli.data.dedup_decide import Scans, decide
from electra_cli.data.dedup_scan import ScanFolder, ScanRecord
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder, counts = Path(sys.argv[1]), [int(count) for count in sys.argv[2].split(",")]
records = [ScanRecord(number, "r", count, "") for number, count in enumerate(counts)]
found = decide(Scans(ScanFolder(folder, "r", None), records), folder / "work", threshold=None)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, int(found.sum()))
found.tofile(folder / "found")
"""


@pytest.mark.slow
@pytest.mark.parametrize("same", [False, True])
def test_millions_of_digests_take_a_bounded_amount_of_memory(tmp_path, same):
    """Also where one digest is most of the corpus, and its partition many times what the others are."""
    number, copies = 2_000_000, 100_000
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 2**63, size=(number, 2), dtype=np.uint64)
    late = np.sort(rng.choice(np.arange(number // 2, number), copies, replace=False))
    digests[late] = digests[rng.choice(number // 2, copies, replace=False)]
    if same:
        digests[::2] = digests[0]
    entries = np.zeros(number, dtype=EXACT_ENTRY)
    entries["digest"] = digests
    counts = [number // 4, 0, number // 2, number // 4]
    ends = np.cumsum([0, *counts])
    for piece, (start, end) in enumerate(pairwise(ends.tolist())):
        entries[start:end].tofile(tmp_path / f"{piece:06d}.scan")
    done = subprocess.run(
        [sys.executable, "-c", DECIDE, str(tmp_path), ",".join(map(str, counts))],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    megabytes, _ = map(int, done.stdout.split())
    assert megabytes < 250
    _, firsts = np.unique(digests[:, 0], return_index=True)  # no two of these agree by chance
    expected = np.ones(number, dtype=np.uint8)
    expected[firsts] = KEPT
    assert (np.fromfile(tmp_path / "found", dtype=np.uint8) == expected).all()


@pytest.fixture
def corpus(tmp_path):
    """Planted documents in twenty files of different sizes."""
    texts = planted(5)
    folder = tmp_path / "corpus"
    folder.mkdir()
    ends = sorted(random.Random(0).sample(range(1, len(texts)), 19))
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(texts)], strict=True)):
        (folder / f"{number:02d}.txt").write_text("\n\n".join(texts[start:end]) + "\n")
    return find_sources([folder], report=Silent())


def left(sources, folder, *, piece_bytes=4000, workers=1, match="near"):
    """The documents that stay, and what was counted."""
    pieces = plan_pieces(sources, piece_bytes=piece_bytes)
    duplicates = find_duplicates(
        pieces,
        folder=folder,
        corpus=CorpusSettings(),
        settings=DedupSettings(match=match),
        recipe_id="sha256:recipe",
        engine=work_through,
        workers=workers,
        report=Silent(),
    )
    tally = Tally()
    texts = []
    for piece in pieces:
        documents = read_piece(piece, CorpusSettings(), tally=tally)
        texts += ["\n".join(document.lines) for document in duplicates.left_out(piece.number, documents, tally=tally)]
    return texts, tally


@pytest.mark.slow
def test_the_same_documents_stay_whatever_the_pieces_and_the_workers(corpus, tmp_path):
    expected, tally = left(corpus, tmp_path / "one")
    assert tally.dropped.keys() == {"duplicate_documents", "near_duplicate_documents"}
    for number, options in enumerate(({"piece_bytes": 60_000}, {"piece_bytes": 1, "workers": 2})):
        texts, counts = left(corpus, tmp_path / f"{number}", **options)
        assert (texts, counts) == (expected, tally)


def test_what_is_left_out_is_counted_instead_of_read(corpus, tmp_path):
    everything = Tally()
    texts = ["\n".join(d.lines) for d in read_documents(corpus, CorpusSettings(), tally=everything, report=Silent())]
    stayed, tally = left(corpus, tmp_path / "exact", match="exact")
    assert stayed == list(dict.fromkeys(texts))
    assert (tally.documents, tally.lines) == (len(stayed), len(stayed))
    assert tally.characters == sum(map(len, stayed))
    assert tally.dropped == {"duplicate_documents": everything.documents - len(stayed)}


def test_an_interrupted_scan_is_used_again(corpus, tmp_path):
    """What is missing, damaged or another recipe's is scanned again, and nothing else."""
    expected, tally = left(corpus, tmp_path / "whole", match="exact")
    pieces = plan_pieces(corpus, piece_bytes=4000)
    scans = ScanFolder(tmp_path / "again", "sha256:recipe", None)
    scanner = Scanner(scans)
    for piece in pieces[:6]:
        scanner.scan(piece.number, read_piece(piece, CorpusSettings(), tally=Tally()))
    scans.file(1).unlink()
    scans.file(2).write_bytes(scans.file(2).read_bytes()[:-1] + b"x")
    scans.record(3).write_text("{")
    scans.record(4).write_text(scans.record(4).read_text().replace("sha256:recipe", "sha256:other"))
    done = [finished_scan(scans, number) is not None for number in range(7)]
    assert done == [True, False, False, False, False, True, False]
    assert left(corpus, scans.path, match="exact") == (expected, tally)


def test_a_scan_that_is_there_is_believed(corpus, tmp_path):
    """One that says that all documents of a piece are the first of the corpus: they are left out."""
    pieces = plan_pieces(corpus, piece_bytes=4000)
    first = next(read_piece(pieces[0], CorpusSettings(), tally=Tally()))
    documents = list(read_piece(pieces[5], CorpusSettings(), tally=Tally()))
    Scanner(ScanFolder(tmp_path / "scans", "sha256:recipe", None)).scan(5, [first] * len(documents))
    texts, _ = left(corpus, tmp_path / "scans", match="exact")
    elsewhere = {
        "\n".join(d.lines) for p in pieces if p.number != 5 for d in read_piece(p, CorpusSettings(), tally=Tally())
    }
    assert set(texts) == elsewhere


def test_a_finished_decision_is_used_again_and_the_scans_are_gone(corpus, tmp_path):
    expected, _ = left(corpus, tmp_path / "near")
    names = {path.name for path in (tmp_path / "near").iterdir()}
    assert names == {"decision.json", "verdicts.bin", "offsets.bin"}
    before = (tmp_path / "near" / "decision.json").stat().st_ino
    assert left(corpus, tmp_path / "near")[0] == expected
    assert (tmp_path / "near" / "decision.json").stat().st_ino == before
    (tmp_path / "near" / "verdicts.bin").write_bytes(b"\0" * 10)
    assert left(corpus, tmp_path / "near")[0] == expected
    assert (tmp_path / "near" / "decision.json").stat().st_ino != before


def test_text_that_changes_between_the_two_readings_is_an_error(corpus, tmp_path):
    """Its size does not."""
    left(corpus, tmp_path / "near")
    file = Path(corpus[0].place)
    text = file.read_text()
    for changed in (text.replace(" ", "\n\n", 1).replace("a", "", 1), text.replace("\n\n", "  ", 1)):
        file.write_text(changed)
        assert file.stat().st_size == len(text)
        with pytest.raises(DataError) as caught:
            left(corpus, tmp_path / "near")
        assert caught.value.code == "CHANGED"


def test_damaged_text_is_told_while_it_is_scanned(corpus, tmp_path):
    Path(corpus[3].place).write_bytes(b"fine\n\nnot \xff" + b" " * 10_000)
    sources = find_sources([Path(corpus[3].place).parent], report=Silent())
    with pytest.raises(DataError) as caught:
        left(sources, tmp_path / "near", match="exact")
    assert (caught.value.code, caught.value.where) == ("NOT_UTF8", f"{sources[3].label}:3")
