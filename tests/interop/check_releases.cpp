// verify on every release that make_releases made: check_releases FOLDER. A false alarm is a failure.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <vector>

#include "export/verify.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int bad = 0, seen = 0;
  try {
    std::vector<std::filesystem::path> cases;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) cases.push_back(entry.path());
    std::sort(cases.begin(), cases.end());
    for (const auto& folder : cases) {
      const auto report = decant::verify_release(folder / "release");
      std::printf("%s\n%s", folder.filename().c_str(), decant::verify_report_text(report).c_str());
      bad += report.passed() ? 0 : 1;
      ++seen;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  std::printf("%d releases, %d not verified\n", seen, bad);
  return bad == 0 && seen >= 11 ? 0 : 1;
}
