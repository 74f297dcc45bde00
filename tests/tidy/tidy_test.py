"""The tidy checks find what they are there to find."""

import unittest

import cases
import dead_files
import failpoints
import host_math
import includes
import links
import markers
from repository import Repository


class Includes(unittest.TestCase):
    def findings(self, path, include):
        return list(includes.check_file(path, f'#include "{include}"\n'))

    def test_core_must_not_include_engine(self):
        self.assertEqual(len(self.findings("server/core/model.cc", "server/engine/engine.h")), 1)

    def test_core_must_not_include_proto(self):
        self.assertEqual(len(self.findings("server/core/model.cc", "stepback/v1/model.pb.h")), 1)

    def test_kernels_include_nothing_of_the_server(self):
        self.assertEqual(len(self.findings("kernels/rules.cc", "server/base/check.h")), 1)

    def test_rpc_may_include_engine(self):
        self.assertEqual(self.findings("server/rpc/server.cc", "server/engine/engine.h"), [])

    def test_client_must_not_include_core(self):
        self.assertEqual(len(self.findings("client/cpp/worker.cc", "server/core/spec.h")), 1)


class PythonTests(unittest.TestCase):
    def findings(self, path):
        files = {"tests/python/CMakeLists.txt": "foreach(name faults fork)", "scripts/deploy": 'cd "$ROOT/tests/deploy"', path: ""}
        repository = Repository(None, list(files))
        repository.text = files.get
        return list(dead_files.python_tests_without_run(repository))

    def test_one_that_nothing_runs_is_found(self):
        self.assertEqual(len(self.findings("tests/python/test_fault.py")), 1)

    def test_those_in_the_list_and_in_a_folder_of_a_script_pass(self):
        self.assertEqual(self.findings("tests/python/test_faults.py"), [])
        self.assertEqual(self.findings("tests/deploy/test_chart.py"), [])


class Links(unittest.TestCase):
    def findings(self, text, files):
        return list(links.check_document("docs/a.md", text, files.__contains__, files.get))

    def test_a_missing_file_is_found(self):
        self.assertEqual(len(self.findings("[x](b.md)", {})), 1)

    def test_a_missing_heading_is_found(self):
        self.assertEqual(len(self.findings("[x](b.md#two)", {"docs/b.md": "# One\n"})), 1)

    def test_a_good_link_passes(self):
        self.assertEqual(self.findings("[x](b.md#one-fine-day)", {"docs/b.md": "# One fine day\n"}), [])

    def test_code_blocks_are_not_links(self):
        self.assertEqual(self.findings("```\n[x](nowhere.md)\n```\n", {}), [])


class Cases(unittest.TestCase):
    FILES = {"tests/a_test.cc": "TEST_F(Suite,\n       Case) {\n", "tests/test_b.py": "def test_one(server):\n"}

    def findings(self, name):
        return list(cases.check_document("docs/a.md", f"see `{name}`", self.FILES.__contains__, self.FILES.get))

    def test_cases_that_are_there_pass(self):
        self.assertEqual(self.findings("tests/a_test.cc::Suite.Case"), [])
        self.assertEqual(self.findings("tests/test_b.py::test_one"), [])

    def test_a_missing_case_is_found(self):
        self.assertEqual(len(self.findings("tests/a_test.cc::Suite.Other")), 1)
        self.assertEqual(len(self.findings("tests/test_b.py::test_two")), 1)

    def test_a_missing_file_is_found(self):
        self.assertEqual(len(self.findings("tests/c_test.cc::Suite.Case")), 1)


class HostMath(unittest.TestCase):
    def findings(self, line):
        return list(host_math.check_file("server/core/a.cc", line + "\n"))

    def test_functions_without_defined_bits_are_found(self):
        for line in ("x = std::pow(a, b);", "x = ::cosf(a);", "return exp(a);", "y = -std::log1p (z);"):
            self.assertEqual(len(self.findings(line)), 1, line)

    def test_exact_ones_members_and_words_pass(self):
        for line in ("std::sqrt(a)", "std::floor(a)", "log.Freeze()", "model->log(a)", "Power(a, b)", "TakeLog(a)",
                     "// exp(a) is e^a", '"log(a)"'):
            self.assertEqual(self.findings(line), [], line)


class Failpoints(unittest.TestCase):
    def findings(self, places, names):
        return len(list(failpoints.compare(places, names)))

    def test_a_list_of_the_places_passes(self):
        self.assertEqual(self.findings(["a.before", "a.after"], ["a.after", "a.before"]), 0)

    def test_a_place_that_is_not_listed_is_found(self):
        self.assertEqual(self.findings(["a.before", "a.after"], ["a.before"]), 1)

    def test_a_name_without_a_place_is_found(self):
        self.assertEqual(self.findings(["a.before"], ["a.before", "a.after"]), 1)

    def test_two_places_of_one_name_are_found(self):
        self.assertEqual(self.findings(["a.before", "a.before"], ["a.before"]), 1)

    def test_places_are_read_from_code_and_not_from_comments(self):
        text = '//   FAILPOINT("a.comment");\n  if (last) FAILPOINT("a.code");\n'
        self.assertEqual(failpoints.PLACE.findall(text), ["a.code"])


class Markers(unittest.TestCase):
    def test_a_marker_is_found(self):
        self.assertEqual(len(list(markers.check_file("a.cc", "// TO" + "DO later\n"))), 1)

    def test_a_machine_path_is_found(self):
        self.assertEqual(len(list(markers.check_file("a.md", "see /ro" + "ot/x\n"))), 1)


if __name__ == "__main__":
    unittest.main()
