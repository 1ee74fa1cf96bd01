"""What of the peer bench needs no peer: how it reads what both sides say of themselves, judges, and has neighbours."""

import os
import sys
import unittest

import instruction_sets
import neighbours
from greedy_check import check_texts, sure_tokens
from peer_build import ISA_OPTIONS
from table import judge, render, render_alone

from process_case import run_tests  # neighbours made its folder known
from processes import descendants

DESCRIBE = "native avx2 (as asked), 2 threads, 91 MiB of weights, 257 KV blocks of float16 (90 MiB), numerics 91ef3f44"
LOG = """0.00.001 I srv  llama_server: initializing ...
0.00.007 I cmn  common_param: system_info: n_threads = 2 (n_threads_batch = 2) / 2 | CPU : SSE3 = 1 | SSSE3 = 1 | AVX = 1 | \
AVX2 = 1 | F16C = 1 | FMA = 1 | BMI2 = 1 | {}LLAMAFILE = 1 | REPACK = 1 |
0.00.943 I cmn          init: llama threadpool init, n_threads = 2
"""
BEYOND = "AVX512 = 1 | AVX512_VBMI = 1 | AVX512_VNNI = 1 | AVX512_BF16 = 1 | "


class InstructionSets(unittest.TestCase):
    def test_troupe_names_its_own(self):
        self.assertEqual(instruction_sets.of_troupe(DESCRIBE), "avx2")
        self.assertRaisesRegex(RuntimeError, "names no", instruction_sets.of_troupe, "torch, 2 threads")
        instruction_sets.check_troupe("", "avx512")
        instruction_sets.check_troupe("avx2", "avx2")
        self.assertRaisesRegex(RuntimeError, "runs on avx2 where avx512", instruction_sets.check_troupe, "avx512", "avx2")

    def test_a_peer_for_avx2_uses_nothing_beyond(self):
        used = instruction_sets.of_llama(LOG.format("AVX512 = 0 | "))
        self.assertEqual(used, ["SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2", "LLAMAFILE", "REPACK"])
        instruction_sets.check_llama("avx2", used)

    def test_a_peer_that_does_is_refused_where_avx2_was_asked_for(self):
        for beyond in (BEYOND, "AMX_INT8 = 1 | ", "AVX_VNNI = 1 | "):
            used = instruction_sets.of_llama(LOG.format(beyond))
            instruction_sets.check_llama("", used)
            self.assertRaisesRegex(RuntimeError, "built for AVX2", instruction_sets.check_llama, "avx2", used)
        self.assertRaisesRegex(RuntimeError, "built for AVX2", instruction_sets.check_llama, "avx2", ["AVX2", "SSE3"])

    def test_a_log_without_the_line_is_an_error(self):
        self.assertRaisesRegex(RuntimeError, "no system_info", instruction_sets.of_llama, "listening\n")

    def test_the_build_for_avx2_asks_for_nothing_beyond(self):
        on = [o for o in ISA_OPTIONS["avx2"] if o.endswith("=ON")]
        self.assertEqual([o for o in on if instruction_sets.BEYOND_AVX2.match(o[len("-DGGML_"):-len("=ON")])], [])
        self.assertIn("-DGGML_NATIVE=OFF", ISA_OPTIONS["avx2"])


class Judging(unittest.TestCase):
    def test_goals_are_those_of_the_instruction_set(self):
        for isa, met in (("avx2", False), ("avx512", True)):
            self.assertIs(judge("decode_cli", [140.0], [100.0], isa)["met"], met)

    def test_beside_neighbours_troupes_own_share_is_judged(self):
        one, each = (judge(name, [0.44, 0.46, 0.40], [0.05, 0.06, 0.07], "avx2") for name in ("beside_one", "beside_each"))
        self.assertEqual((one["met"], each["met"]), (False, True))
        self.assertIn("| 0.44 (0.4-0.46) | 0.06 (0.05-0.07) | 7.3x | >= 0.45 of quiet | MISSED |", render("t", [one]))

    def test_shares_of_the_bandwidth_have_goals(self):
        text = render_alone({"read": [40.0], "gemv_share": [0.84, 0.86, 0.9], "step_share": [0.69]})
        self.assertIn("| 40 (40-40) |  |  |", text)
        self.assertIn("| 0.86 (0.84-0.9) | >= 0.85 of it | met |", text)
        self.assertIn("| 0.69 (0.69-0.69) | >= 0.7 of it | MISSED |", text)


class Said:
    """A server that says the same to everybody."""

    def __init__(self, text: str):
        self.text = text

    def post(self, path: str, body: dict) -> dict:
        return {"content": self.text[: body["n_predict"]]}


class Texts(unittest.TestCase):
    def test_troupe_is_sure_up_to_the_first_near_tie(self):
        top = [{"a": -0.1, "b": -3.0}, {"c": -1.0, "b": -1.5}, {"d": -1.0, "e": -1.3}, {"f": -0.1, "g": -9.0}]
        self.assertEqual(sure_tokens({"tokens": ["a", "c", "d", "f"], "top_logprobs": top}, 0.35), ["a", "c"])
        self.assertEqual(sure_tokens({"tokens": ["a"], "top_logprobs": [{"a": -0.1}]}, 0.35), [])
        self.assertEqual(sure_tokens({"tokens": ["\ufffd"], "top_logprobs": top[:1]}, 0.35), [])

    def test_a_peer_that_says_another_text_is_refused(self):
        check_texts(Said("abcd"), [([1, 2], 3, "abc"), ([3], 2, "ab")])
        self.assertRaisesRegex(RuntimeError, "says 'abd' where troupe is sure of 'abc'", check_texts, Said("abd"), [([1], 3, "abc")])


class Beside(unittest.TestCase):
    def test_rates_are_taken_beside_as_many_busy_processes(self):
        seen = []

        def rate() -> float:
            busy = [p for p in descendants(os.getpid()) if neighbours.cpu_seconds(p.pid) >= neighbours.BUSY_S]
            seen.append(len(busy))
            return 12 / (1 + len(busy))

        shares = neighbours.rates_beside(rate)
        cores = neighbours.cores()
        self.assertEqual(seen, [0, 1, cores])
        self.assertEqual(shares, {"beside_one": 1 / 2, "beside_each": 12 / (1 + cores) / 12})
        self.assertEqual(descendants(os.getpid()), [])


if __name__ == "__main__":
    sys.exit(run_tests())
