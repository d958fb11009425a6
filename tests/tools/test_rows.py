# SPDX-License-Identifier: MIT
"""The list of tests, and what it takes from the source."""
import pathlib
import re
import sys
import unittest

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))
import test_steps  # noqa: E402


class Features(unittest.TestCase):
    def test_each_word_of_without_has_its_step(self):
        names = {step.name for step in test_steps.all_steps(TOP)}
        words = test_steps.features(TOP)
        self.assertGreater(len(words), 15)
        self.assertEqual(len(words), len(set(words)))
        # One a line that begins as a row does: none is missed by the way the list is read.
        text = (TOP / "vmx/features.def").read_text()
        self.assertEqual(len(words), len(re.findall(r"^[A-Z]+\(", text, re.M)))
        for word in words:
            self.assertIn(f"boot/without-{word}", names)

    def test_the_menu_knows_the_words(self):
        menu = (TOP / "tools/grub.cfg").read_text()
        used = [word for value in re.findall(r"\bwithout=(\S+)", menu) for word in value.split(",")]
        self.assertTrue(used)
        self.assertLessEqual(set(used), set(test_steps.features(TOP)))


class Matrix(unittest.TestCase):
    def test_the_sample_has_each_place_and_number_with_each_model(self):
        rows = [step for step in test_steps.machines(TOP) if step.matrix]
        self.assertEqual(len(rows), 18)
        sample = [tuple(step.name.split("/")[1].split("-")) for step in rows if step.sample]
        sample.append(("cd", "1", "full"))  # boot/selftest
        for axis, values in ((0, ("cd", "disk", "uefi")), (1, "124")):
            self.assertEqual({(row[axis], row[2]) for row in sample},
                             {(value, model) for value in values for model in ("full", "minimal")})


if __name__ == "__main__":
    unittest.main()
