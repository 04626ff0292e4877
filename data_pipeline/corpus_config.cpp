#include "data_pipeline/corpus_config.h"

#include <algorithm>

namespace decant {

namespace {

// Read by decide.cpp and write_corpus.cpp only. A setting that is not named here is taken to change the
// store.
const std::vector<std::string> kDecidedLater = {"inputs",  "max_bad_fraction", "held_out_fraction", "split",
                                                "filter",  "duplicates",       "canned_replies",    "mix",
                                                "contract"};

}  // namespace

void SplitSettings::validate(const Place& place) const {
  check(max_held_out_component > 0 && max_held_out_component <= 1, place("max_held_out_component"),
        ": must be above 0 and at most 1, found ", max_held_out_component);
}

void CorpusConfig::validate(const Place& place) const {
  check(!inputs.empty() || !sources.empty(), place("inputs"),
        ": name at least one file, folder or glob, here or in 'sources'");
  check(max_bad_fraction >= 0 && max_bad_fraction <= 1, place("max_bad_fraction"), ": must be 0 to 1, found ",
        max_bad_fraction);
  check(sequence_length >= 2 && sequence_length <= (1 << 20), place("sequence_length"),
        ": must be 2 to 1048576, found ", sequence_length);
  check(held_out_fraction >= 0 && held_out_fraction < 1, place("held_out_fraction"),
        ": must be at least 0 and less than 1, found ", held_out_fraction);
  if (mix.replay_from.empty()) check_mix_sources(mix, source_names(*this), place("mix"));
  check(template_name == "model" || template_name == "plain", place("template"),
        ": must be model or plain, found '", template_name, "'");
  check(!pii_key_env.empty() && pii_key_env.find('=') == std::string::npos, place("pii_key_env"),
        ": must be the name of an environment variable");
}

RenderOptions render_options(const CorpusConfig& config, const Conversation& conversation) {
  RenderOptions options;
  options.reasoning = config.reasoning;
  options.tools = conversation.tools;
  if (!conversation.period.empty()) options.date = conversation.period + "-01";
  return options;
}

std::vector<InputFile> corpus_files(const CorpusConfig& config, const std::filesystem::path& base_folder) {
  std::vector<SourceConfig> sources;
  if (!config.inputs.empty()) sources.emplace_back().paths = config.inputs;
  sources.insert(sources.end(), config.sources.begin(), config.sources.end());
  return expand_sources(sources, base_folder);
}

std::vector<std::string> source_names(const CorpusConfig& config) {
  std::vector<std::string> names;
  if (!config.inputs.empty()) names.push_back(SourceConfig{}.shown_name());
  for (const SourceConfig& source : config.sources) names.push_back(source.shown_name());
  return names;
}

std::string store_settings(const CorpusConfig& config) {
  std::string text;
  CorpusConfig::visit(config, [&](const std::string& name, const auto& value, const char*, auto... neutral) {
    const bool later = std::find(kDecidedLater.begin(), kDecidedLater.end(), name) != kDecidedLater.end();
    // The length of a row decides what is stored only where conversations are cut to fit it.
    const bool unused = name == "sequence_length" && config.too_long == TooLong::kQuarantine;
    if (sizeof...(neutral) == 0 && !later && !unused)
      text += name + ":" + write_value(value, 0, false) + "\n";
  });
  // Of near-duplicates only the sketches are stored.
  if (config.duplicates.near) {
    const NearDuplicateConfig& compare = config.duplicates.compare;
    text += concat("sketches: ", compare.bands, " x ", compare.rows, "\n", config_key(compare.shingles));
  }
  return text;
}

std::vector<std::filesystem::path> evaluation_files(const CorpusConfig& config,
                                                    const std::filesystem::path& base_folder) {
  std::vector<std::filesystem::path> files;
  for (const EvaluationSetConfig& set : config.decontaminate.sets) files.push_back(base_folder / set.path);
  return files;
}

}  // namespace decant
