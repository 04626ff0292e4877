// The verbs of the command line. Each file adds its own to the parser and leaves what it will do in `action`;
// main runs it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace CLI {
class App;
}

namespace decant {

using Action = std::function<Exit()>;

void add_run(CLI::App& app, Action& action);       // run, prepare, distill, train, lora, evaluate, export
void add_plan(CLI::App& app, Action& action);      // plan
void add_lr_find(CLI::App& app, Action& action);   // lr-find
void add_built_in(CLI::App& app, Action& action);  // ls, cp, help
void add_inspect(CLI::App& app, Action& action);   // inspect
void add_annotate(CLI::App& app, Action& action);  // annotate
void add_erase(CLI::App& app, Action& action);     // erase
void add_generate(CLI::App& app, Action& action);  // generate, chat
void add_score(CLI::App& app, Action& action);     // score
void add_merge(CLI::App& app, Action& action);     // merge, import
void add_soup(CLI::App& app, Action& action);      // soup
void add_verify(CLI::App& app, Action& action);    // verify
void add_tokenize(CLI::App& app, Action& action);  // tokenize
void add_render(CLI::App& app, Action& action);    // render

// Results go to standard output through these two: a full disk is an Error with exit status 75, a reader that
// went away one with exit status 1 (there is no one left to tell, so main stays silent about it).
struct ReaderGone : Error {
  ReaderGone() : Error("standard output was closed", Exit::kUserError) {}
};
void print(std::string_view text);
void flush_output();

// The lines of standard input, without their ends; `line` counts from 1.
bool next_line(std::string& text, int64_t& line);
// Whether a further line can be had without waiting.
bool more_input();

}  // namespace decant
