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

// False, with the reason in `made`, when the conversation cannot be rendered or tokenized.
bool make_whole(const Conversation& c, const CorpusConfig& config, const Tokenizer& tokenizer,
                const ChatTemplate& chat_template, TokenizedDocument& whole, MadeDocuments& made) {
  try {
    whole = tokenized(c, config, tokenizer, chat_template);
  } catch (const Error& e) {
    made.reason = "not_renderable";
    made.text = e.what();
    return false;
  }
  if (whole.lost_bytes == 0) return true;
  made.reason = "not_representable";
  made.text = concat(whole.lost_bytes, " bytes of text that the tokenizer's vocabulary lacks");
  return false;
}

// The first message of the answers that were judged.
size_t answer_begin(const std::vector<Conversation>& conversations) {
  if (conversations.size() == 2) return common_messages(conversations[0], conversations[1]);
  const auto& messages = conversations.front().messages;
  size_t begin = messages.size();
  while (begin > 0 && messages[begin - 1].role != "user") --begin;
  return begin;
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

std::vector<Conversation> stored_conversations(const StoredDocument& document) {
  const Json json = parse_json(document.json(), "store");
  std::vector<Conversation> conversations = parse_conversations(json);
  const Json& source = json.at("source");
  for (Conversation& c : conversations)
    c.source = {source.at("file").get<std::string>(), source.at("byte_offset").get<uint64_t>(),
                source.at("line").get<uint64_t>()};
  return conversations;
}

Conversation whole_pair(const Conversation& chosen, const Conversation& rejected) {
  Conversation whole = chosen;
  whole.id = std::move(whole.pair);
  whole.pair.clear();
  const auto common = static_cast<std::ptrdiff_t>(common_messages(chosen, rejected));
  whole.messages.insert(whole.messages.end(), rejected.messages.begin() + common, rejected.messages.end());
  return whole;
}

Conversation stored_conversation(const StoredDocument& document) {
  std::vector<Conversation> conversations = stored_conversations(document);
  if (conversations.size() == 2) return whole_pair(conversations[0], conversations[1]);
  return std::move(conversations.front());
}

MadeDocuments make_documents(const Conversation& c, const CorpusConfig& config, const Tokenizer& tokenizer,
                             const ChatTemplate& chat_template) {
  MadeDocuments made;
  TokenizedDocument whole;
  if (!make_whole(c, config, tokenizer, chat_template, whole, made)) return made;
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

void learn_answers_only(std::vector<Conversation>& conversations) {
  const size_t begin = answer_begin(conversations);
  for (Conversation& c : conversations)
    for (size_t m = 0; m < std::min(begin, c.messages.size()); ++m) c.messages[m].weight = 0;
}

MadeDocuments make_judged_documents(std::vector<Conversation> conversations, const CorpusConfig& config,
                                    const Tokenizer& tokenizer, const ChatTemplate& chat_template) {
  MadeDocuments made;
  learn_answers_only(conversations);
  for (const Conversation& c : conversations) {
    TokenizedDocument whole;
    if (!make_whole(c, config, tokenizer, chat_template, whole, made)) break;
    if (std::all_of(whole.loss_weight.begin(), whole.loss_weight.end(), [](uint8_t w) { return w == 0; })) {
      made.reason = "no_answer";
      made.text = conversations.size() == 2 ? "an answer of the pair has nothing that the other one has not"
                                            : "the answer that was judged has no weight";
      break;
    }
    add(made, whole);
  }
  if (!made.reason.empty()) return {made.reason, made.text};
  return made;
}

}  // namespace decant
