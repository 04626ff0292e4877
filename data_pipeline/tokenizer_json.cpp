// tokenizer.json -> tokenizer. What the file asks for is reproduced exactly or refused by name; truncation
// and padding are the caller's business (transformers sets them with every call) and post-processors only add
// what encode() never adds.
#include <simdjson.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/tokenizer.h"
#include "data_pipeline/tokenizer_byte_level.h"

namespace decant {

namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr uint64_t kMaxId = uint64_t{1} << 22;  // tables are sized by the largest id
constexpr size_t kMaxJson = size_t{1} << 30;
constexpr int kMaxSequenceDepth = 16;

// A value and the words with which errors name it.
struct Part {
  element value;
  std::string where;

  object as_object() const {
    object found;
    check(value.get(found) == simdjson::SUCCESS, where, ": expected a JSON object");
    return found;
  }
  array as_array() const {
    array found;
    check(value.get(found) == simdjson::SUCCESS, where, ": expected a JSON array");
    return found;
  }
  std::string_view text() const {
    std::string_view found;
    check(value.get(found) == simdjson::SUCCESS, where, ": expected a JSON string");
    return found;
  }
  bool boolean() const {
    bool found = false;
    check(value.get(found) == simdjson::SUCCESS, where, ": expected true or false");
    return found;
  }
  uint32_t id() const {
    uint64_t found = 0;
    if (value.get(found) != simdjson::SUCCESS || found >= kMaxId)
      fail(where, ": expected a token id from 0 to ", kMaxId - 1);
    return static_cast<uint32_t>(found);
  }
  bool is_null() const { return value.is_null(); }

  // Null when absent.
  Part get(std::string_view key) const {
    element found;
    if (as_object().at_key(key).get(found) != simdjson::SUCCESS)
      return {null_element(), where + "." + std::string(key)};
    return {found, where + "." + std::string(key)};
  }
  bool boolean_or(std::string_view key, bool otherwise) const {
    const Part part = get(key);
    return part.is_null() ? otherwise : part.boolean();
  }
  std::string type() const { return std::string(get("type").text()); }

  // Error for a key that stands twice or that we do not know: it could change the ids.
  void only(std::initializer_list<std::string_view> known) const {
    std::vector<std::string_view> seen;
    for (const auto& [key, value] : as_object()) {
      check(std::find(known.begin(), known.end(), key) != known.end(), where, ": the key '", key,
            "' is not known to decant, which reproduces a tokenizer exactly or not at all");
      check(std::find(seen.begin(), seen.end(), key) == seen.end(), where, ": the key '", key,
            "' stands twice");
      seen.push_back(key);
    }
  }
  [[noreturn]] void refuse(const std::string& kind, const std::string& found,
                           const std::string& known) const {
    fail(where, ": the ", kind, " ", found, " is not supported; supported: ", known);
  }

  static element null_element() {
    static simdjson::dom::parser parser;
    static const element null = parser.parse(std::string_view("null")).value();
    return null;
  }
};

void read_normalizer(const Part& part, int depth, std::vector<NormalForm>& forms) {
  if (part.is_null()) return;
  check(depth < kMaxSequenceDepth, part.where, ": Sequences nested deeper than ", kMaxSequenceDepth);
  const std::string type = part.type();
  if (type == "Sequence") {
    part.only({"type", "normalizers"});
    const Part list = part.get("normalizers");
    size_t i = 0;
    for (const element one : list.as_array())
      read_normalizer({one, list.where + "[" + std::to_string(i++) + "]"}, depth + 1, forms);
    return;
  }
  part.only({"type"});
  if (type == "NFC")
    forms.push_back(NormalForm::kNFC);
  else if (type == "NFD")
    forms.push_back(NormalForm::kNFD);
  else if (type == "NFKC")
    forms.push_back(NormalForm::kNFKC);
  else if (type == "NFKD")
    forms.push_back(NormalForm::kNFKD);
  else
    part.refuse("normalizer", type, "NFC, NFD, NFKC, NFKD and Sequences of them");
  check(forms.size() <= 16, part.where, ": more than 16 normal forms in sequence");
}

// One entry of a pre-tokenizer, before those that belong together become one scanner.
struct Step {
  enum Kind { kDigits, kDigitRuns, kPattern, kByteLevel } kind;
  std::string pattern;
  std::string where;
  bool add_prefix_space = false, use_regex = false;
};

void read_pre_tokenizer(const Part& part, int depth, std::vector<Step>& steps) {
  if (part.is_null()) return;
  check(depth < kMaxSequenceDepth, part.where, ": Sequences nested deeper than ", kMaxSequenceDepth);
  const std::string type = part.type();
  if (type == "Sequence") {
    part.only({"type", "pretokenizers"});
    const Part list = part.get("pretokenizers");
    size_t i = 0;
    for (const element one : list.as_array())
      read_pre_tokenizer({one, list.where + "[" + std::to_string(i++) + "]"}, depth + 1, steps);
  } else if (type == "Digits") {
    part.only({"type", "individual_digits"});
    steps.push_back(
        {part.boolean_or("individual_digits", false) ? Step::kDigits : Step::kDigitRuns, "", part.where});
  } else if (type == "Split") {
    part.only({"type", "pattern", "behavior", "invert"});
    const std::string behavior(part.get("behavior").text());
    if (behavior != "Isolated") part.refuse("behavior", behavior, "Isolated");
    if (part.boolean_or("invert", false)) part.refuse("value", "'invert': true", "false");
    const Part pattern = part.get("pattern");
    pattern.only({"Regex", "String"});
    Step step{Step::kPattern, "", part.where};
    if (const Part regex = pattern.get("Regex"); !regex.is_null()) {
      step.pattern = std::string(regex.text());
    } else {
      for (const char c : pattern.get("String").text()) {
        if (static_cast<unsigned char>(c) < 0x80 && !isalnum(c) && c > ' ') step.pattern += '\\';
        step.pattern += c;
      }
    }
    steps.push_back(step);
  } else if (type == "ByteLevel") {
    part.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    Step step{Step::kByteLevel, "", part.where};
    step.add_prefix_space = part.boolean_or("add_prefix_space", true);
    step.use_regex = part.boolean_or("use_regex", true);
    steps.push_back(step);
  } else {
    part.refuse("pre-tokenizer", type, "ByteLevel, Digits, Split and Sequences of them");
  }
  check(steps.size() <= 64, part.where, ": more than 64 pre-tokenizers in sequence");
}

// Leaves the text whole: ByteLevel without its regular expression.
class WholeStep final : public PreTokenizerStep {
 public:
  void split(std::string_view text, Pieces& pieces) const override { pieces.push_back(text); }
};

void make_steps(const std::vector<Step>& steps, const std::string& where, ByteLevelParts& parts) {
  check(!steps.empty() && steps.back().kind == Step::kByteLevel, where,
        ".pre_tokenizer: expected ByteLevel, at the end where it is a Sequence: decant reads byte-level BPE "
        "(and SentencePiece "
        "as tokenizer.model)");
  const Step& last = steps.back();
  parts.add_prefix_space = last.add_prefix_space;
  size_t i = 0;
  if (steps.size() == 2 && steps[0].kind == Step::kDigits && last.use_regex && !last.add_prefix_space) {
    parts.steps.push_back(digits_gpt2_step());
    return;
  }
  if (steps.size() == 4 && steps[0].pattern == kDeepSeekV3Patterns[0] &&
      steps[1].pattern == kDeepSeekV3Patterns[1] && steps[2].pattern == kDeepSeekV3Patterns[2]) {
    parts.steps.push_back(deepseek_v3_step());
    i = 3;
  }
  for (; i + 1 < steps.size(); ++i) {
    const Step& step = steps[i];
    check(step.kind != Step::kByteLevel, step.where,
          ": ByteLevel is supported as the last pre-tokenizer only");
    if (step.kind == Step::kPattern)
      parts.steps.push_back(split_step(step.pattern, step.where));
    else
      parts.steps.push_back(digits_step(step.kind == Step::kDigits));
  }
  if (last.use_regex)
    parts.steps.push_back(gpt2_step());
  else if (last.add_prefix_space)
    parts.steps.push_back(std::make_unique<WholeStep>());
}

void check_decoder(const Part& part, int depth) {
  const std::string known = "ByteLevel";
  if (part.is_null()) part.refuse("decoder", "null", known);
  const std::string type = part.type();
  if (type == "Sequence" && depth == 0) {
    const Part list = part.get("decoders");
    const array decoders = list.as_array();
    if (decoders.size() != 1) part.refuse("decoder", "Sequence of several", known);
    return check_decoder({decoders.at(0).value(), list.where + "[0]"}, 1);
  }
  if (type != "ByteLevel") part.refuse("decoder", type, known);
}

void check_post_processor(const Part& part, int depth) {
  if (part.is_null()) return;
  check(depth < kMaxSequenceDepth, part.where, ": Sequences nested deeper than ", kMaxSequenceDepth);
  const std::string type = part.type();
  if (type == "Sequence") {
    const Part list = part.get("processors");
    size_t i = 0;
    for (const element one : list.as_array())
      check_post_processor({one, list.where + "[" + std::to_string(i++) + "]"}, depth + 1);
  } else if (type != "ByteLevel" && type != "TemplateProcessing" && type != "BertProcessing" &&
             type != "RobertaProcessing") {
    part.refuse("post-processor", type,
                "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing and Sequences");
  }
}

// The id of a token as the file writes it.
int64_t id_in_vocabulary(const ByteLevelParts& parts, std::string_view text, std::string& buffer) {
  return byte_level_bytes(text, buffer) && !buffer.empty() ? parts.bpe.tokens.find(buffer)
                                                           : parts.other_tokens.find(text);
}

int64_t id_in_vocabulary(const ByteLevelParts& parts, std::string_view text) {
  std::string buffer;
  return id_in_vocabulary(parts, text, buffer);
}

// The token of two joined ones, -1 when there is none. Vocabularies are written in the order of their merges,
// several merges of one token in a row, so that most are `last` or the one after it.
int64_t joined_id(const TokenTable& tokens, uint32_t left, uint32_t right, int64_t last,
                  std::string& buffer) {
  const std::string_view first = tokens.bytes(left), second = tokens.bytes(right);
  for (int64_t id = std::max<int64_t>(last, 0); id <= last + 1; ++id) {
    if (!tokens.has(static_cast<uint32_t>(id))) continue;
    const std::string_view bytes = tokens.bytes(static_cast<uint32_t>(id));
    if (bytes.size() == first.size() + second.size() && bytes.starts_with(first) && bytes.ends_with(second))
      return id;
  }
  return tokens.find(buffer.assign(first).append(second));
}

void read_merges(const Part& part, ByteLevelParts& parts) {
  const array merges = part.as_array();
  std::string buffer;
  size_t rank = 0;
  int64_t last = -1;
  parts.bpe.merges.reserve(merges.size());
  for (const element merge : merges) {
    std::string_view left, right;
    const auto here = [&] { return concat(part.where, "[", rank, "]"); };
    array pair;
    if (std::string_view both; merge.get(both) == simdjson::SUCCESS) {
      const size_t space = both.find(' ');
      if (space == std::string_view::npos || both.find(' ', space + 1) != std::string_view::npos)
        fail(here(), ": expected two tokens with one space between, found '", both, "'");
      left = both.substr(0, space), right = both.substr(space + 1);
    } else if (merge.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
               pair.at(0).get(left) != simdjson::SUCCESS || pair.at(1).get(right) != simdjson::SUCCESS) {
      fail(here(), ": expected \"left right\" or [\"left\", \"right\"]");
    }
    if (left.empty() || right.empty()) fail(here(), ": an empty token cannot be merged");
    const auto id_of = [&](std::string_view token) {
      const int64_t id = id_in_vocabulary(parts, token, buffer);
      if (id < 0) fail(here(), ": '", token, "' is not in the vocabulary");
      return static_cast<uint32_t>(id);
    };
    const uint32_t left_id = id_of(left), right_id = id_of(right);
    const TokenTable& tokens = parts.bpe.tokens;
    int64_t id = -1;
    if (tokens.has(left_id) && tokens.has(right_id)) id = joined_id(tokens, left_id, right_id, last, buffer);
    if (id < 0) id = id_of(std::string(left).append(right));
    last = id;
    parts.bpe.merges.push_back({left_id, right_id, static_cast<uint32_t>(id)});
    ++rank;
  }
}

// Empty text and null mean the same for the affixes.
void check_no_affix(const Part& model, std::string_view key) {
  const Part part = model.get(key);
  if (!part.is_null() && !part.text().empty())
    part.refuse("value", "'" + std::string(part.text()) + "'", "none");
}

void read_model(const Part& model, ByteLevelParts& parts) {
  model.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
              "byte_fallback", "ignore_merges", "vocab", "merges"});
  if (const Part type = model.get("type"); !type.is_null() && type.text() != "BPE")
    model.refuse("model type", std::string(type.text()), "BPE");
  if (const Part dropout = model.get("dropout"); !dropout.is_null()) {
    double rate = -1;
    check(dropout.value.get(rate) == simdjson::SUCCESS && rate == 0, dropout.where,
          ": dropout makes ids random; expected null or 0");
  }
  check_no_affix(model, "continuing_subword_prefix");
  check_no_affix(model, "end_of_word_suffix");
  if (model.boolean_or("byte_fallback", false))
    model.refuse("value", "'byte_fallback': true",
                 "false (for such a model give decant its tokenizer.model)");
  parts.bpe.ignore_merges = model.boolean_or("ignore_merges", false);
  parts.bpe.fuse_unknown = model.boolean_or("fuse_unk", false);

  const Part vocab = model.get("vocab");
  const object entries = vocab.as_object();
  const size_t count = entries.size();  // simdjson saturates it at 2^24 - 1
  parts.bpe.tokens.reserve(count, count * 8);
  std::string bytes;
  for (const auto& [token, value] : entries) {
    uint64_t number = 0;
    if (value.get(number) != simdjson::SUCCESS || number >= kMaxId)
      fail(vocab.where, ": the id of '", token, "' must be a number from 0 to ", kMaxId - 1);
    const auto id = static_cast<uint32_t>(number);
    const bool of_bytes = byte_level_bytes(token, bytes) && !bytes.empty();
    TokenTable& table = of_bytes ? parts.bpe.tokens : parts.other_tokens;
    const TokenTable& other = of_bytes ? parts.other_tokens : parts.bpe.tokens;
    if (other.has(id) || !table.add(of_bytes ? std::string_view(bytes) : token, id)) {
      if (id_in_vocabulary(parts, token) >= 0) fail(vocab.where, ": the token '", token, "' stands twice");
      fail(vocab.where, ": the id ", id, " is given twice (the second time to '", token, "')");
    }
  }
  check(parts.bpe.tokens.size() + parts.other_tokens.size() > 0, vocab.where, ": the vocabulary is empty");
  read_merges(model.get("merges"), parts);
  if (const Part unknown = model.get("unk_token"); !unknown.is_null()) {
    parts.bpe.unknown_id = id_in_vocabulary(parts, unknown.text());
    check(parts.bpe.unknown_id >= 0, unknown.where, ": '", unknown.text(), "' is not in the vocabulary");
  }
}

// Hugging Face numbers added tokens itself: the vocabulary's id where the text is in it, else the next free
// one. A file that says otherwise would have other ids there than here.
void read_added(const Part& part, ByteLevelParts& parts) {
  if (part.is_null()) return;
  std::unordered_map<std::string_view, uint32_t> seen;
  auto next = static_cast<uint32_t>(parts.bpe.tokens.size() + parts.other_tokens.size());
  size_t i = 0;
  for (const element one : part.as_array()) {
    const Part token{one, part.where + "[" + std::to_string(i++) + "]"};
    token.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const std::string_view content = token.get("content").text();
    check(!content.empty(), token.where, ": an added token without text");
    const uint32_t id = token.get("id").id();
    check(seen.emplace(content, id).second, token.where, ": the added token '", content, "' stands twice");
    const int64_t in_vocabulary = id_in_vocabulary(parts, content);
    const uint32_t expected = in_vocabulary >= 0 ? static_cast<uint32_t>(in_vocabulary) : next;
    check(id == expected, token.where, ": the added token '", content, "' has id ", id,
          ", but Hugging Face would give it ", expected, "; repair the file by loading and saving it there");
    if (id >= next) next = id + 1;
    check(next <= kMaxId, token.where, ": more than ", kMaxId, " ids");
    AddedToken added;
    added.content = std::string(content);
    added.id = id;
    added.special = token.boolean_or("special", false);
    added.normalized = token.boolean_or("normalized", !added.special);
    added.single_word = token.boolean_or("single_word", false);
    added.lstrip = token.boolean_or("lstrip", false);
    added.rstrip = token.boolean_or("rstrip", false);
    parts.added.push_back(std::move(added));
  }
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, const std::string& where) {
  check(json.size() <= kMaxJson, where, ": ", json.size(), " bytes is more than a tokenizer.json may have (",
        kMaxJson, ")");
  simdjson::dom::parser parser;
  element root;
  const simdjson::error_code error = parser.parse(simdjson::padded_string(json)).get(root);
  check(error == simdjson::SUCCESS, where, ": not valid JSON: ", simdjson::error_message(error));
  const Part file{root, where};
  file.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});

  ByteLevelParts parts;
  const Part model = file.get("model");
  check(!model.is_null(), where, ": no 'model': not a tokenizer.json");
  read_normalizer(file.get("normalizer"), 0, parts.normal_forms);
  std::vector<Step> steps;
  read_pre_tokenizer(file.get("pre_tokenizer"), 0, steps);
  if (const Part type = model.get("type"); !type.is_null() && type.text() != "BPE")
    model.refuse("model type", std::string(type.text()), "BPE");
  make_steps(steps, where, parts);
  check_decoder(file.get("decoder"), 0);
  check_post_processor(file.get("post_processor"), 0);
  read_model(model, parts);
  read_added(file.get("added_tokens"), parts);
  parts.sha256 = sha256_hex(json);
  return make_byte_level_tokenizer(std::move(parts));
}

}  // namespace decant
