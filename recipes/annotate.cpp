// decant annotate: language, personal data, quality and duplicates of documents, line by line.
#include "data_pipeline/annotate.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "recipes/verbs.h"

namespace decant {

void add_annotate(CLI::App& app, Action& action) {
  auto* verb = app.add_subcommand(
      "annotate",
      "JSON lines on standard input (conversations, texts); per line language, spans of personal data, "
      "quality numbers and duplicate root");
  verb->callback([&action] {
    action = [] {
      annotate_lines(std::cin, [](const Json& line) { print(line.dump() + "\n"); });
      return Exit::kFinished;
    };
  });
}

}  // namespace decant
