import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from electra_cli.data.counting import CountJob
from electra_cli.data.pieces import plan_pieces
from electra_cli.data.sources import CorpusSettings, find_sources
from electra_cli.data.word_tables import WordTable
from electra_cli.data.workers import work_through
from electra_cli.reporting import Silent
from electra_cli.text.parts import WordRules
from electra_cli.text.words import TOO_LONG

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def pieces(tmp_path):
    for number in range(5):
        lines = [f"Word{number}-{line % 7} ähnlich, 字国 {'y' * 120}" for line in range(40)]
        (tmp_path / f"{number}.txt").write_text("\n".join(lines), "utf-8")
    sources = find_sources([tmp_path / f"{number}.txt" for number in range(5)], report=Silent())
    return plan_pieces(sources, piece_bytes=1)


def counted(pieces, job, workers, limit):
    table = WordTable(job.folder, "all", limit=limit)
    characters = 0
    for _, found in work_through(job, pieces, workers=workers):
        table.add(found.items())
        table.adopt(found.runs)
        characters += found.tally.characters
    return dict(table.items()), characters


def test_workers_and_what_they_hold_do_not_matter(pieces, tmp_path):
    job = {"corpus": CorpusSettings(), "rules": WordRules()}
    expected = Counter()
    for number in range(5):
        for line in range(40):
            expected.update([f"word{number}", "-", str(line % 7), "ahnlich", ",", "字", "国", TOO_LONG])
    for workers, held, limit in ((1, 10**6, 10**6), (1, 1, 5), (2, 10**6, 3)):
        folder = tmp_path / f"{workers}-{held}"
        words, characters = counted(pieces, CountJob(folder, **job, held=held), workers, limit)
        assert words == expected
        assert characters == sum(len(path.read_text("utf-8").replace("\n", "")) for path in tmp_path.glob("*.txt"))
        assert folder.exists() == (limit < 100)


@pytest.mark.slow
def test_a_word_of_megabytes_needs_little_memory(tmp_path):
    (tmp_path / "a.txt").write_text("ab " + "é" * 5_000_000 + " ab " + "z" * 5_000_000, "utf-8")
    script = (
        "import resource, sys\n"
        "from electra_cli.data.words import ChunkCounter\n"
        "from electra_cli.text.parts import WordRules\n"
        "from electra_cli.text.words import TOO_LONG, words_of\n"
        "import tokenizers\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "counter = ChunkCounter(rule=WordRules().cut_rule)\n"
        "counter.add([open(sys.argv[1], encoding='utf-8').read()])\n"
        "words = words_of(counter.drain(), WordRules())\n"
        "assert words == {'ab': 2, TOO_LONG: 2}, words.keys()\n"
        "grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024\n"
        "assert grown < 300, grown\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "a.txt"], cwd=REPOSITORY, check=True)
