// decant score: arrays of ids in, log-probabilities out.
#include "core/model/score.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <memory>

#include "core/json.h"
#include "recipes/open_model.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

constexpr int64_t kTokensAtOnce = 2048;

struct ScoreArguments {
  std::string model, adapter, dtype = "fp32", quantize = "none";
};

std::vector<int64_t> parse_ids(const std::string& text, int64_t line, int64_t vocabulary) {
  const std::string where = concat("standard input:", line);
  const Json json = parse_json(text, where);
  check(json.is_array(), where, ": expected a JSON array of ids, such as [1, 15, 7]");
  check(!json.empty(), where, ": expected at least one id, found none");
  std::vector<int64_t> ids;
  for (const auto& item : json) {
    const bool whole = item.is_number_integer() &&
                       (!item.is_number_unsigned() || item.get<uint64_t>() < (uint64_t{1} << 62));
    check(whole, where, ": expected whole numbers, found ", item.dump());
    const int64_t id = item.get<int64_t>();
    check(id >= 0 && id < vocabulary, where, ": id ", id, " is outside the model's vocabulary of ",
          vocabulary, " tokens");
    ids.push_back(id);
  }
  return ids;
}

// Shortest text that reads back to the same float.
std::string float_text(float value) {
  if (!std::isfinite(value)) return "null";
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  (void)error;
  return std::string(text, end);
}

void write_scores(const Decoder& model, std::vector<std::vector<int64_t>>& documents) {
  for (const auto& values : score(model, documents, kTokensAtOnce)) {
    std::string out = "[";
    for (const float v : values) out += (out.size() > 1 ? ", " : "") + float_text(v);
    print(out + "]\n");
  }
  flush_output();
  documents.clear();
}

// Lines that are there already are scored together; an answer is never held back for a line that may come.
Exit run_score(const ScoreArguments& arguments) {
  const Decoder model = open_model(arguments.model, parse_dtype(arguments.dtype), arguments.adapter,
                                   parse_quantization(arguments.quantize));
  std::vector<std::vector<int64_t>> documents;
  std::string text;
  int64_t line = 0, tokens = 0;
  while (next_line(text, line)) {
    std::vector<int64_t> ids;
    try {
      ids = parse_ids(text, line, model.config.vocab_size);
    } catch (const Error&) {
      write_scores(model, documents);  // the good lines before the bad one keep their answers
      throw;
    }
    tokens += static_cast<int64_t>(ids.size());
    documents.push_back(std::move(ids));
    if (tokens < kTokensAtOnce && more_input()) continue;
    write_scores(model, documents);
    tokens = 0;
  }
  if (!documents.empty()) write_scores(model, documents);
  return Exit::kFinished;
}

}  // namespace

void add_score(CLI::App& app, Action& action) {
  auto* verb = app.add_subcommand(
      "score", "JSON arrays of ids on standard input, the log-probability of each id but the first out");
  auto a = std::make_shared<ScoreArguments>();
  verb->add_option("MODEL", a->model, "Hugging Face folder or GGUF file")->required();
  verb->add_option("--adapter", a->adapter, "PEFT folder");
  verb->add_option("--dtype", a->dtype, "fp32 (default) or bf16")->check(CLI::IsMember({"fp32", "bf16"}));
  add_quantize_option(verb, a->quantize);
  verb->callback([&action, a] { action = [a] { return run_score(*a); }; });
}

}  // namespace decant
