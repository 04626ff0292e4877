#include "export/verify_golden.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "export/verify_bytes.h"
#include "export/verify_json.h"

namespace decant::verifying {

Golden read_golden(const std::filesystem::path& file) {
  Golden golden;
  std::istringstream in(slurp(file));
  std::string text;
  for (size_t number = 1; std::getline(in, text); ++number) {
    const std::string where = "golden.jsonl line " + std::to_string(number);
    const Tree line = parse_tree(text, where);
    if (number == 1) {
      expect(integer(line, "decant_golden", where) == 1, where, ": not a golden file of version 1");
      golden.vocabulary = integer(line, "vocab_size", where);
      golden.eos = ids_of(line, "eos_token_ids", where);
      golden.tokenizer_sha256 = text_or(line, "tokenizer_sha256", "", where);
      golden.template_sha256 = text_or(line, "chat_template_sha256", "", where);
      continue;
    }
    GoldenLine out;
    out.artefact = text_or(line, "artefact", "", where);
    out.text = text_or(line, "text", "", where);
    out.whole = flag_or(line, "whole", true, where);
    expect(has(line, "ids") && line.at("ids").is_array() && has(line, "log_probabilities") &&
               line.at("log_probabilities").is_array(),
           where, ": ids or log_probabilities are missing");
    for (const Tree& id : line.at("ids")) {
      expect(id.is_number_integer(), where, ": an id is not an integer");
      out.ids.push_back(id.get<int64_t>());
    }
    for (const Tree& value : line.at("log_probabilities")) {
      expect(value.is_number(), where, ": a log-probability is not a number");
      out.log_probabilities.push_back(value.get<double>());
    }
    expect(out.ids.size() >= 2 && out.log_probabilities.size() + 1 == out.ids.size(), where, ": ",
           out.ids.size(), " ids but ", out.log_probabilities.size(), " log-probabilities");
    golden.lines.push_back(std::move(out));
  }
  expect(!golden.lines.empty(), "golden.jsonl holds no line to compare with");
  return golden;
}

std::string compare_with_golden(const PlainModel& model, const Golden& golden, const std::string& artefact,
                                Tolerance tolerance) {
  double worst = 0, sum = 0;
  size_t count = 0, lines = 0;
  std::string where;
  for (const GoldenLine& line : golden.lines) {
    if (line.artefact != artefact) continue;
    ++lines;
    const std::vector<double> found = plain_log_probabilities(model, line.ids);
    for (size_t i = 0; i < found.size(); ++i) {
      const double difference = std::fabs(found[i] - line.log_probabilities[i]);
      sum += difference;
      ++count;
      if (difference > worst || !std::isfinite(difference)) {
        worst = difference;
        std::ostringstream text;
        text.precision(5);
        text << "token " << i + 1 << " of line " << lines << ": recorded " << line.log_probabilities[i]
             << ", the release gives " << found[i];
        where = text.str();
        expect(std::isfinite(difference), "log-probabilities are not finite; ", where);
      }
    }
  }
  expect(lines > 0, "golden.jsonl has no line for ", artefact);
  const double mean = sum / static_cast<double>(count);
  expect(mean <= tolerance.mean && worst <= tolerance.largest,
         "log-probabilities differ from those of the model in memory: mean ", mean, " (allowed ",
         tolerance.mean, "), largest ", worst, " (allowed ", tolerance.largest, ") at ", where);
  std::ostringstream text;
  text.precision(3);
  text << count << " log-probabilities, mean difference " << mean << ", largest " << worst;
  return text.str();
}

}  // namespace decant::verifying
