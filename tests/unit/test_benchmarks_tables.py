"""The table of speed is written from what was measured, and nothing else on the page changes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FIGURES = {
    "reference": "transformers",
    "machine": {
        "processor": "A Processor",
        "threads": 2,
        "bytes_a_second": 21.6e9,
        "operations_a_second": 300e9,
    },
    "peers": {
        "transformers": {"versions": {"transformers": "5.23.0"}},
        "kosmos2-fp32": {},
        "kosmos2-int8": {},
    },
    "cases": {
        "first_token": {
            "peers": {
                "transformers": {"seconds": {"median": 1.76}},
                "kosmos2-fp32": {"seconds": {"median": 1.6, "better": {"median": 1.1}}},
                "kosmos2-int8": {"seconds": {"median": 0.16, "better": {"median": 11.0}}},
            }
        },
        "decode_b1": {
            "peers": {
                "transformers": {
                    "seconds_a_step": {"median": 0.23},
                    "memory_share": {"median": 0.981},
                },
                "kosmos2-int8": {
                    "seconds_a_step": {"median": 0.0612, "better": {"median": 3.761}},
                    "memory_share": {"median": 0.9},
                },
            }
        },
        "arrivals": {
            "requests": 32,
            "peers": {
                "transformers": {"tokens_a_second": {"median": 3.214}},
                "kosmos2-int8": {"tokens_a_second": {"median": 32.14, "better": {"median": 10.0}}},
            },
        },
        "cold_full": {
            "peers": {
                "transformers": {"peak_bytes": {"median": 7 * 2**30}},
                "kosmos2-int8": {"peak_bytes": {"median": 2 * 2**30, "better": {"median": 3.5}}},
            }
        },
    },
}


@pytest.fixture
def tables(monkeypatch):
    spec = importlib.util.spec_from_file_location("write_tables", ROOT / "scripts/write_tables.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "write_tables", module)  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def block(tables, tmp_path):
    measured = tmp_path / "bench.json"
    measured.write_text(json.dumps(FIGURES))
    return tables.Block("speed", measured, tables.speed, (tmp_path / "page.md",))


PAGE = "before\n<!-- measured: speed -->\nold\n<!-- end of measured -->\nafter\n"


def test_each_case_is_a_row_with_the_ratio_and_the_figure(tables):
    text = tables.speed(FIGURES)
    assert "A Processor, 2 threads, 22 GB/s of memory, 300 GFLOP/s" in text
    assert "transformers 5.23.0" in text
    assert "| | transformers | fp32 | int8 |" in text
    assert "prompt of 71 tokens | 1.76 s | **1.10x** (1.6 s) | **11.0x** (160 ms) |" in text
    assert "| each further token | 230 ms | - | **3.76x** (61 ms) |" in text
    assert "share of what memory allows | 98% | - | 90% |" in text
    assert "| 32 mixed requests arriving: tokens a second | 3.21 | - | **10.0x** (32.1) |" in text
    assert "| most memory | 7.00 GiB | - | **3.50x** (2.00 GiB) |" in text


def test_a_case_that_was_not_measured_has_no_row(tables):
    assert "pictures captioned" not in tables.speed(FIGURES)


def test_only_what_stands_between_the_comments_is_replaced(tables, block):
    page = block.on(PAGE)
    assert page.startswith("before\n<!-- measured: speed -->\nA Processor")
    assert page.endswith("|\n<!-- end of measured -->\nafter\n")
    assert "old" not in page
    assert block.on(page) == page


def test_a_page_without_the_comments_and_one_without_figures_stay(tables, block):
    assert block.on("nothing here") == "nothing here"
    block.measured.unlink()
    assert block.on(PAGE) == PAGE


def test_two_tables_on_a_page_do_not_meet(tables, block):
    other = "<!-- measured: other -->\nleft alone\n<!-- end of measured -->\n"
    assert block.on(other + PAGE + other) == other + block.on(PAGE) + other


def test_check_says_which_page_is_old_and_changes_nothing(tables, block, monkeypatch, capsys):
    (page,) = block.pages
    page.write_text(PAGE)
    monkeypatch.setattr(tables, "BLOCKS", (block,))
    monkeypatch.setattr(tables, "ROOT", page.parent)
    monkeypatch.setattr(sys, "argv", ["write_tables.py", "--check"])
    assert tables.main() == 1
    assert capsys.readouterr().out == "page.md is not what bench.json says\n"
    assert page.read_text() == PAGE
    monkeypatch.setattr(sys, "argv", ["write_tables.py"])
    assert tables.main() == 0
    monkeypatch.setattr(sys, "argv", ["write_tables.py", "--check"])
    assert tables.main() == 0
