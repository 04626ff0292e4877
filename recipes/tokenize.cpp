// decant tokenize: exactly the ids that a model will see.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>

#include "core/log.h"
#include "data_pipeline/tokenize_lines.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

Exit run_tokenize(const std::string& path, SpecialMode mode, bool decode) {
  const auto tokenizer = load_tokenizer(path);
  std::ios::sync_with_stdio(false);  // blocks, not characters
  int64_t lost = 0;
  if (decode)
    detokenize_lines(*tokenizer, std::cin, std::cout);
  else
    lost = tokenize_lines(*tokenizer, mode, std::cin, std::cout);
  if (!std::cout.flush()) {
    if (errno == EPIPE) throw ReaderGone();
    fail_try_again("standard output: ", std::strerror(errno));
  }
  if (lost > 0) log_warning("the vocabulary has no token for ", lost, " bytes; they were left out");
  return Exit::kFinished;
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto* tokenize =
      app.add_subcommand("tokenize", "JSON strings on standard input, arrays of ids out; no BOS is added");
  auto path = std::make_shared<std::string>(), special = std::make_shared<std::string>("match");
  auto decode = std::make_shared<bool>(false);
  tokenize->add_option("TOKENIZER", *path, "model folder, tokenizer.json, tokenizer.model or GGUF file")
      ->required();
  tokenize
      ->add_option("--special", *special,
                   "match (default): a special token's text becomes its id; text: it is ordinary text")
      ->check(CLI::IsMember({"match", "text"}));
  tokenize->add_flag(
      "--decode", *decode,
      "back: arrays of ids on standard input, JSON strings out; bytes that are not UTF-8 become U+FFFD");
  tokenize->callback([&action, path, special, decode] {
    action = [path, special, decode] {
      return run_tokenize(*path, *special == "text" ? SpecialMode::kAsText : SpecialMode::kMatch, *decode);
    };
  });
}

}  // namespace decant
