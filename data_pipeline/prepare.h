// The corpus step: conversations in, packed shards out, nothing lost without a reason on record.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/json.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer.h"

namespace decant {

enum class TooLong { kQuarantine, kSplitAtTurn };
template <>
struct EnumNames<TooLong> {
  static constexpr std::pair<TooLong, const char*> values[] = {{TooLong::kQuarantine, "quarantine"},
                                                               {TooLong::kSplitAtTurn, "split_at_turn"}};
};

template <>
struct EnumNames<Reasoning> {
  static constexpr std::pair<Reasoning, const char*> values[] = {{Reasoning::kRefuse, "refuse"},
                                                                 {Reasoning::kKeep, "keep"},
                                                                 {Reasoning::kDrop, "drop"},
                                                                 {Reasoning::kAsTemplate, "as_template"}};
};

struct CorpusConfig {
  std::vector<std::string> inputs;
  double max_bad_fraction = 0.05;
  int64_t sequence_length = 512;
  double held_out_fraction = 0.1;
  std::string split_salt = "decant";
  TooLong too_long = TooLong::kQuarantine;
  std::string template_name = "model";
  Reasoning reasoning = Reasoning::kRefuse;
  bool replace_pii = true;
  std::string pii_key_env = "DECANT_PII_KEY";

  static void visit(auto& c, auto&& field) {
    field("inputs", c.inputs, "JSONL files, folders or globs of conversations, relative to the recipe");
    field("max_bad_fraction", c.max_bad_fraction,
          "the step stops when more of the records than this are quarantined");
    field("sequence_length", c.sequence_length,
          "tokens of a packed row; a longer document is treated as too_long says");
    field("held_out_fraction", c.held_out_fraction,
          "of the customers, by hash: their conversations are never trained on");
    field("split_salt", c.split_salt, "changes which customers are held out");
    field("too_long", c.too_long, "quarantine, or split_at_turn");
    field("template", c.template_name, "model: the chat template of the model folder; plain: no markup");
    field("reasoning", c.reasoning,
          "of assistant turns that the template would leave out: refuse the conversation, keep it, drop all "
          "reasoning, or as_template");
    field("replace_pii", c.replace_pii, "replace e-mail, mobile and ID-card numbers by typed surrogates");
    field("pii_key_env", c.pii_key_env,
          "environment variable with the key of the surrogates; unset: a fixed public key, with a warning");
  }
  void validate(const Place& place) const;
};

// How a conversation of this corpus is rendered: with its tools, and dates as on the first of its period.
RenderOptions render_options(const CorpusConfig& config, const Conversation& conversation);

// Reads, checks, normalises, removes exact duplicates, replaces PII (in messages, customer and meta; ids are
// kept), splits, renders, tokenizes and packs. Into `folder`: quarantine.jsonl, duplicates.jsonl,
// conversations/{train,held_out}/<tenant>.jsonl and shards/{train,held_out}/<tenant>/; what an earlier run
// left there is removed. Returns the counts: {in, quarantined {reason: n}, duplicate, pii {email, mobile,
// id_card}, merged_messages, trimmed_messages, kept, train, held_out,
//  tokens, train_tokens, held_out_tokens, target_tokens, rows, tenants {name: {train, held_out, tokens,
//  train_tokens, held_out_tokens}}}; in = kept + duplicate + all quarantined; pii counts what is kept.
// Quarantine reasons: those of read_jsonl.h and normalize.h, bad_tenant, duplicate_id, not_renderable,
// not_representable, too_long. A line has file, line, byte_offset, reason, text and the record (record_base64
// when it is not UTF-8, only record_bytes over 1 MiB). `period` is that of records without one. Error, after
// quarantine.jsonl is written, when more than max_bad_fraction is quarantined; Error when nothing is read or
// nothing is left to train on. The output does not depend on thread count. `model_folder` gives tokenizer and
// template.
Json prepare_corpus(const CorpusConfig& config, const std::filesystem::path& base_folder,
                    const std::filesystem::path& model_folder, const std::string& period,
                    const std::filesystem::path& folder);
Json prepare_corpus(const CorpusConfig& config, const std::filesystem::path& base_folder,
                    const Tokenizer& tokenizer, const ChatTemplate& chat_template, const std::string& period,
                    const std::filesystem::path& folder);

}  // namespace decant
