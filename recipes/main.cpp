// decant: the command line. The only try of the program is here.
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <new>

#include "core/config.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/tensor_memory.h"
#include "recipes/verbs.h"

namespace decant {
namespace {

struct Globals {
  bool quiet = false, debug = false;
  int threads = 0;
};

void say(const std::string& message) { log_line(LogLevel::kError, message); }

// CLI11 reports an unknown verb as a surplus word; the nearest verb is a better answer.
std::string unknown_verb(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--threads") ++i;
    if (word.empty() || word[0] == '-' || word == "--threads") continue;
    if (std::find(verbs.begin(), verbs.end(), word) != verbs.end()) return "";
    return concat("unknown verb '", word, "'", did_you_mean("", word, verbs),
                  "; decant --help lists the verbs");
  }
  return "";
}

Exit parse_and_act(int argc, char** argv, CLI::App& app, const Globals& globals, const Action& action) {
  const std::string unknown = unknown_verb(app, argc, argv);
  if (!unknown.empty()) {
    say(unknown);
    return Exit::kUsage;
  }
  app.parse(argc, argv);
  if (globals.quiet) {
    set_log_level(LogLevel::kWarning);
    set_progress_quiet(true);
  }
  if (globals.debug) set_log_level(LogLevel::kDebug);
  if (globals.threads > 0) at::set_num_threads(globals.threads);
  const Exit status = action();
  flush_output();
  return status;
}

int guarded_main(int argc, char** argv) {
  Globals globals;
  Action action;
  CLI::App app("Fine-tunes, distills and LoRA-adapts large language models, and hands them to serving teams.",
               "decant");
  app.set_version_flag("--version", "decant " DECANT_VERSION);
  app.add_flag("--quiet", globals.quiet, "warnings and errors only on standard error");
  app.add_flag("--debug", globals.debug, "say more, with a trace for internal errors");
  app.add_option("--threads", globals.threads,
                 "threads to compute with; part of what makes results the same bytes")
      ->check(CLI::Range(1, 1024));
  app.require_subcommand(1);
  app.fallthrough();
  add_run(app, action);
  add_plan(app, action);
  add_lr_find(app, action);
  add_built_in(app, action);
  add_inspect(app, action);
  add_annotate(app, action);
  add_erase(app, action);
  add_generate(app, action);
  add_score(app, action);
  add_merge(app, action);
  add_soup(app, action);
  add_verify(app, action);
  add_tokenize(app, action);
  add_render(app, action);
  try {
    return static_cast<int>(parse_and_act(argc, argv, app, globals, action));
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    say(concat(e.what(), "; decant --help tells more"));
    return static_cast<int>(Exit::kUsage);
  } catch (const ReaderGone& e) {
    return static_cast<int>(e.code());
  } catch (const Error& e) {
    say(e.what());
    return static_cast<int>(e.code());
  } catch (const c10::Error& e) {
    const std::string text = globals.debug ? e.what() : e.what_without_backtrace();
    if (text.find("not enough memory") != std::string::npos) {
      say("not enough memory: " + text);
      return static_cast<int>(Exit::kTryAgain);
    }
    say("internal error: " + text);
    return static_cast<int>(Exit::kInternal);
  } catch (const std::bad_alloc&) {
    say("not enough memory: use a smaller model, fewer tokens_per_micro_batch or checkpoint_activations, and "
        "run again");
    return static_cast<int>(Exit::kTryAgain);
  } catch (const std::exception& e) {
    say(concat("internal error: ", e.what()));
    return static_cast<int>(Exit::kInternal);
  }
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of write(), told once and plainly
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a file that may not grow
  decant::use_tensor_arena();
  return decant::guarded_main(argc, argv);
}
