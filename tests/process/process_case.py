"""What the process tests share: expectations from the oracle, and the runner."""

import sys
import unittest

import oracle_model


def expected(prompt: str, count: int) -> tuple[str, str]:
    """(text, finish reason) of the oracle backend for a text prompt."""
    ids, reason = oracle_model.answer(oracle_model.encode(prompt), count)
    return oracle_model.text_of(ids), reason


def long_prompt(tag: str, count: int) -> str:
    """A prompt that begins with `tag` and to which the oracle has at least `count` tokens to say."""
    for number in range(1000):
        prompt = f"{tag} {number}"
        if expected(prompt, count)[1] == "length":
            return prompt
    raise AssertionError(f"the oracle is always short of {count} tokens")


class ProcessCase(unittest.TestCase):
    maxDiff = None

    def check_stream(self, stream, prompt: str, count: int) -> None:
        """Everything arrived, once and in order, and the stream says how it ended."""
        text, reason = expected(prompt, count)
        self.assertEqual(stream.status, 200)
        self.assertIsNone(stream.error())
        self.assertEqual(stream.text(), text)
        self.assertEqual(stream.finish(), reason)
        self.assertEqual([e.data for e in stream.events].count("[DONE]"), 1)
        self.assertEqual(stream.events[-1].data, "[DONE]")


def run_tests() -> int:
    """Runs the calling file's tests (or those named on the command line); the last line is `N passed, N failed, N skipped`."""
    module = sys.modules["__main__"]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    # A test with several failed subtests counts once. A class that could not be set up is one failure and no test run.
    failed = {getattr(test, "test_case", test) for test, _ in result.failures + result.errors}
    passed = result.testsRun - len({t for t in failed if isinstance(t, unittest.TestCase)}) - len(result.skipped)
    print(f"{passed} passed, {len(failed)} failed, {len(result.skipped)} skipped")
    return 0 if result.wasSuccessful() else 1
