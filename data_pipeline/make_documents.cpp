#include "data_pipeline/make_documents.h"

#include <algorithm>

#include "core/error.h"

namespace decant {

namespace {

TokenizedDocument tokenized(const Conversation& c, const CorpusConfig& config, const Tokenizer& tokenizer,
                            const ChatTemplate& chat_template) {
  return tokenize_rendered(chat_template.render(c.messages, render_options(config, c)), tokenizer);
}

// Empty when an exchange alone does not fit.
std::vector<TokenizedDocument> split_at_turns(const Conversation& c, const CorpusConfig& config,
                                              const Tokenizer& tokenizer, const ChatTemplate& chat_template) {
  const int64_t room = config.sequence_length;
  std::vector<Message> system;
  size_t first = 0;
  if (c.messages[0].role == "system") system.push_back(c.messages[first++]);
  std::vector<size_t> cuts = {first};  // where an exchange begins
  for (size_t i = first + 1; i < c.messages.size(); ++i)
    if (c.messages[i].role == "user" && c.messages[i - 1].role == "assistant") cuts.push_back(i);
  cuts.push_back(c.messages.size());
  const auto part = [&](size_t from, size_t to) {
    Conversation some;
    some.tools = c.tools;
    some.period = c.period;
    some.messages = system;
    some.messages.insert(some.messages.end(), c.messages.begin() + static_cast<std::ptrdiff_t>(from),
                         c.messages.begin() + static_cast<std::ptrdiff_t>(to));
    return tokenized(some, config, tokenizer, chat_template);
  };
  std::vector<TokenizedDocument> documents;
  for (size_t k = 0; k + 1 < cuts.size();) {
    TokenizedDocument best = part(cuts[k], cuts[k + 1]);
    if (static_cast<int64_t>(best.tokens.size()) > room) return {};
    size_t next = k + 1;
    while (next + 1 < cuts.size()) {
      TokenizedDocument longer = part(cuts[k], cuts[next + 1]);
      if (static_cast<int64_t>(longer.tokens.size()) > room) break;
      best = std::move(longer);
      ++next;
    }
    documents.push_back(std::move(best));
    k = next;
  }
  return documents;
}

void add(MadeDocuments& made, const TokenizedDocument& document) {
  made.part_tokens.push_back(static_cast<uint32_t>(document.tokens.size()));
  for (const int64_t token : document.tokens) made.tokens.push_back(static_cast<uint32_t>(token));
  made.loss_weight.insert(made.loss_weight.end(), document.loss_weight.begin(), document.loss_weight.end());
  made.target_tokens += std::count_if(document.loss_weight.begin(), document.loss_weight.end(),
                                      [](uint8_t weight) { return weight > 0; });
  made.target_bytes += document.target_bytes;
}

}  // namespace

Conversation stored_conversation(const StoredDocument& document) {
  const Json json = parse_json(document.json(), "store");
  Conversation c = parse_conversation(json);
  const Json& source = json.at("source");
  c.source = {source.at("file").get<std::string>(), source.at("byte_offset").get<uint64_t>(),
              source.at("line").get<uint64_t>()};
  return c;
}

MadeDocuments make_documents(const Conversation& c, const CorpusConfig& config, const Tokenizer& tokenizer,
                             const ChatTemplate& chat_template) {
  MadeDocuments made;
  TokenizedDocument whole;
  try {
    whole = tokenized(c, config, tokenizer, chat_template);
  } catch (const Error& e) {
    made.reason = "not_renderable";
    made.text = e.what();
    return made;
  }
  if (whole.lost_bytes > 0) {
    made.reason = "not_representable";
    made.text = concat(whole.lost_bytes, " bytes of text that the tokenizer's vocabulary lacks");
    return made;
  }
  std::vector<TokenizedDocument> parts;
  if (static_cast<int64_t>(whole.tokens.size()) > config.sequence_length &&
      config.too_long == TooLong::kSplitAtTurn)
    parts = split_at_turns(c, config, tokenizer, chat_template);
  if (parts.empty()) {
    add(made, whole);
  } else {
    for (const TokenizedDocument& part : parts) add(made, part);
  }
  return made;
}

}  // namespace decant
