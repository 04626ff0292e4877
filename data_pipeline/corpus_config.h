// The `corpus` section of a recipe, and which of its settings each pass depends on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/config.h"
#include "data_pipeline/canned_replies.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/contract.h"
#include "data_pipeline/decontaminate.h"
#include "data_pipeline/filter_rules.h"
#include "data_pipeline/inputs.h"
#include "data_pipeline/mix.h"
#include "data_pipeline/near_duplicates.h"
#include "data_pipeline/normalize_config.h"
#include "data_pipeline/source_config.h"

namespace decant {

enum class TooLong { kQuarantine, kSplitAtTurn };
template <>
struct EnumNames<TooLong> {
  static constexpr std::pair<TooLong, const char*> values[] = {{TooLong::kQuarantine, "quarantine"},
                                                               {TooLong::kSplitAtTurn, "split_at_turn"}};
};

// What is learned of answers that people judged: the wanted ones alone, as any other; or both of a pair, and
// feedback of either kind, as documents with a role (shard.h).
enum class Preference { kChosen, kPairs };
template <>
struct EnumNames<Preference> {
  static constexpr std::pair<Preference, const char*> values[] = {{Preference::kChosen, "chosen"},
                                                                  {Preference::kPairs, "pairs"}};
};

template <>
struct EnumNames<Reasoning> {
  static constexpr std::pair<Reasoning, const char*> values[] = {{Reasoning::kRefuse, "refuse"},
                                                                 {Reasoning::kKeep, "keep"},
                                                                 {Reasoning::kDrop, "drop"},
                                                                 {Reasoning::kAsTemplate, "as_template"}};
};

struct DuplicatesConfig {
  bool near = true;
  NearDuplicateConfig compare;
  std::string index;

  static void visit(auto& c, auto&& field) {
    field("near", c.near, "also documents that are nearly the same, not only exact duplicates");
    field("compare", c.compare, "what is nearly the same");
    field("index", c.index,
          "folder that knows the documents of earlier months, so that they are not learned twice; empty: the "
          "month "
          "alone");
  }
};

struct SplitSettings {
  std::string ledger;
  double max_held_out_component = 0.05;

  static void visit(auto& c, auto&& field) {
    field("ledger", c.ledger,
          "folder that remembers on which side every customer and document is, so that none changes it in a "
          "later "
          "month; beside duplicates.index, say. Empty: by hash alone");
    field("max_held_out_component", c.max_held_out_component,
          "customers that hang together through shared documents and have more than this share of the "
          "month's are "
          "trained on");
  }
  void validate(const Place& place) const;
};

struct CorpusConfig {
  std::vector<std::string> inputs;
  std::vector<SourceConfig> sources;
  double max_bad_fraction = 0.05;
  int64_t sequence_length = 512;
  double held_out_fraction = 0.1;
  std::string split_salt = "decant";
  SplitSettings split;
  NormalizeConfig normalize;
  TooLong too_long = TooLong::kQuarantine;
  Preference preference = Preference::kChosen;
  std::string template_name = "model";
  Reasoning reasoning = Reasoning::kRefuse;
  bool replace_pii = true;
  std::string pii_key_env = "DECANT_PII_KEY";
  FilterConfig filter;
  DuplicatesConfig duplicates;
  DecontaminateConfig decontaminate;
  CannedRepliesConfig canned_replies;
  MixConfig mix;
  ContractConfig contract;

  static void visit(auto& c, auto&& field) {
    field("inputs", c.inputs, "files, folders or globs of conversations, relative to the recipe");
    field("sources", c.sources, "the same, each with its own settings: read after the inputs");
    field("max_bad_fraction", c.max_bad_fraction,
          "the step stops when more of the records than this are quarantined");
    field("sequence_length", c.sequence_length,
          "tokens of a packed row; a longer document is treated as too_long says");
    field("held_out_fraction", c.held_out_fraction,
          "of the customers, by hash: their conversations are never trained on");
    field("split_salt", c.split_salt,
          "changes which customers are held out; one with a ledger must stay as it is");
    field("split", c.split, "how sides are kept from month to month");
    field("normalize", c.normalize, "what is removed from people's texts beyond invisible characters");
    field("too_long", c.too_long, "quarantine, or split_at_turn");
    field(
        "preference", c.preference,
        "of judged answers: chosen (the wanted ones are learned like any other, the others are left out), or "
        "pairs (both are written with their roles, for a loss that compares them)");
    field("template", c.template_name, "model: the chat template of the model folder; plain: no markup");
    field("reasoning", c.reasoning,
          "of assistant turns that the template would leave out: refuse the conversation, keep it, drop all "
          "reasoning, or as_template");
    field("replace_pii", c.replace_pii,
          "replace personal data (numbers, addresses, names, ...) by typed surrogates");
    field("pii_key_env", c.pii_key_env,
          "environment variable with the key of the surrogates; unset: a fixed public key, with a warning");
    field("filter", c.filter, "which documents are left out for what they look like");
    field("duplicates", c.duplicates, "which documents are left out for being like another");
    field("decontaminate", c.decontaminate, "evaluation sets that must not be learned from");
    field("canned_replies", c.canned_replies,
          "answers that are the same in many conversations are learned from a few times only");
    field("mix", c.mix, "how often sources are seen, caps, replay of earlier months, what is withdrawn");
    field("contract", c.contract,
          "what must hold before anything is trained; a broken bound is exit status 3");
  }
  void validate(const Place& place) const;
};

// How a conversation of this corpus is rendered: with its tools, and dates as on the first of its period.
RenderOptions render_options(const CorpusConfig& config, const Conversation& conversation);

// The files of `inputs` and then of `sources`.
std::vector<InputFile> corpus_files(const CorpusConfig& config, const std::filesystem::path& base_folder);

// What reports, and `mix.sources`, call them.
std::vector<std::string> source_names(const CorpusConfig& config);

// The files of the evaluation sets.
std::vector<std::filesystem::path> evaluation_files(const CorpusConfig& config,
                                                    const std::filesystem::path& base_folder);

// The settings that decide what the store holds, as text for its key. Those that only the decisions and the
// packing read are left out, so that a changed threshold does not read the inputs again.
std::string store_settings(const CorpusConfig& config);

}  // namespace decant
