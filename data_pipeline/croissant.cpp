#include "data_pipeline/croissant.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/hash.h"
#include "core/run_directory.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr const char* kOutputs[] = {
    "conversations",    "shards",        "decisions.bin",        "ledger.sqlite", "quarantine.jsonl",
    "duplicates.jsonl", "dropped.jsonl", "canned_replies.jsonl", "contract.json"};

// Small and large files by relative path, sorted.
Json digests_below(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const char* name : kOutputs) {
    if (fs::is_regular_file(folder / name)) files.push_back(folder / name);
    if (!fs::is_directory(folder / name)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(folder / name))
      if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  Json digests = Json::object();
  for (const fs::path& file : files)
    digests[file.lexically_relative(folder).generic_string()] = digest_path(file);
  return digests;
}

// The context that Croissant 1.1 prescribes, word for word.
Json context() {
  return {{"@language", "en"},
          {"@vocab", "https://schema.org/"},
          {"arrayShape", "cr:arrayShape"},
          {"citeAs", "cr:citeAs"},
          {"column", "cr:column"},
          {"conformsTo", "dct:conformsTo"},
          {"containedIn", "cr:containedIn"},
          {"cr", "http://mlcommons.org/croissant/"},
          {"data", {{"@id", "cr:data"}, {"@type", "@json"}}},
          {"dataBiases", "cr:dataBiases"},
          {"dataCollection", "cr:dataCollection"},
          {"dataType", {{"@id", "cr:dataType"}, {"@type", "@vocab"}}},
          {"dct", "http://purl.org/dc/terms/"},
          {"equivalentProperty", "cr:equivalentProperty"},
          {"examples", {{"@id", "cr:examples"}, {"@type", "@json"}}},
          {"extract", "cr:extract"},
          {"field", "cr:field"},
          {"fileObject", "cr:fileObject"},
          {"fileProperty", "cr:fileProperty"},
          {"fileSet", "cr:fileSet"},
          {"format", "cr:format"},
          {"includes", "cr:includes"},
          {"isArray", "cr:isArray"},
          {"isLiveDataset", "cr:isLiveDataset"},
          {"jsonPath", "cr:jsonPath"},
          {"key", "cr:key"},
          {"md5", "cr:md5"},
          {"parentField", "cr:parentField"},
          {"path", "cr:path"},
          {"personalSensitiveInformation", "cr:personalSensitiveInformation"},
          {"rai", "http://mlcommons.org/croissant/RAI/"},
          {"recordSet", "cr:recordSet"},
          {"references", "cr:references"},
          {"regex", "cr:regex"},
          {"repeated", "cr:repeated"},
          {"replace", "cr:replace"},
          {"samplingRate", "cr:samplingRate"},
          {"sc", "https://schema.org/"},
          {"separator", "cr:separator"},
          {"source", "cr:source"},
          {"subField", "cr:subField"},
          {"transform", "cr:transform"}};
}

std::string encoding_of(const std::string& path) {
  if (path.ends_with(".jsonl")) return "application/jsonlines";
  if (path.ends_with(".json")) return "application/json";
  if (path.ends_with(".h5")) return "application/x-hdf5";
  if (path.ends_with(".sqlite")) return "application/vnd.sqlite3";
  return "application/octet-stream";
}

Json record_set(const std::string& name, const std::string& file) {
  Json fields = Json::array();
  const auto add = [&](const std::string& field, const char* what, const char* column, const char* path) {
    Json source = {{"fileObject", {{"@id", file}}}, {"extract", {{"column", column}}}};
    if (path != nullptr) source["transform"] = {{"jsonPath", path}};
    fields.push_back({{"@type", "cr:Field"},
                      {"@id", name + "/" + field},
                      {"name", name + "/" + field},
                      {"description", what},
                      {"dataType", "sc:Text"}});
    if (path != nullptr) fields.back()["repeated"] = true;
    fields.back()["source"] = std::move(source);
  };
  add("id", "names a conversation of its tenant", "id", nullptr);
  add("tenant", "whose conversation it is", "tenant", nullptr);
  add("period", "month, YYYY-MM", "period", nullptr);
  add("customer", "key of the customer, personal data replaced", "customer", nullptr);
  add("roles", "who speaks, message by message", "messages", "role");
  add("contents", "what is said, message by message", "messages", "content");
  return {{"@type", "cr:RecordSet"}, {"@id", name}, {"name", name}, {"field", fields}};
}

}  // namespace

Json corpus_lineage(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                    const EarlierCorpora& earlier, const fs::path& folder) {
  Json lineage;
  lineage["tool"] = "decant " DECANT_VERSION;
  lineage["period"] = job.period;
  lineage["inputs"] = store.facts().at("inputs");
  lineage["settings_sha256"] = sha256_hex(config_key(config));
  lineage["tokenizer_sha256"] = job.tokenizer->sha256();
  lineage["template_sha256"] = job.chat_template->sha256();
  lineage["store"] = {{"key", store.facts().at("key")},
                      {"blocks_sha256", sha256_hex(store.facts().at("blocks").dump())}};
  if (earlier.size() > 0) lineage["replayed_from"] = earlier.lineage();
  lineage["outputs"] = digests_below(folder);
  lineage["sha256"] = sha256_hex(lineage.dump());
  return lineage;
}

Json corpus_croissant(const CorpusJob& job, const Json& counts, const Json& lineage) {
  Json croissant;
  croissant["@context"] = context();
  croissant["@type"] = "sc:Dataset";
  croissant["name"] = "corpus-" + job.period;
  croissant["conformsTo"] = "http://mlcommons.org/croissant/1.1";
  croissant["description"] =
      concat("Conversations of ", job.period, " prepared by ", lineage.at("tool").get<std::string>(), ": ",
             counts.at("kept").get<int64_t>(), " kept of ", counts.at("in").get<int64_t>(), ", ",
             counts.at("train").get<int64_t>(), " to train on and ", counts.at("held_out").get<int64_t>(),
             " held out, ", counts.at("tokens").get<int64_t>(), " tokens.");
  std::set<std::string> licenses;
  for (const Json& input : lineage.at("inputs"))
    if (input.contains("license")) licenses.insert(input["license"].get<std::string>());
  if (!licenses.empty())
    croissant["license"] = Json(std::vector<std::string>(licenses.begin(), licenses.end()));
  croissant["version"] = concat(job.period.substr(0, 4), ".", std::stoi(job.period.substr(5)), ".0");
  croissant["datePublished"] = job.period + "-01";
  croissant["identifier"] = "sha256:" + lineage.at("sha256").get<std::string>();
  croissant["distribution"] = Json::array();
  croissant["recordSet"] = Json::array();
  for (const auto& [path, digest] : lineage.at("outputs").items()) {
    croissant["distribution"].push_back({{"@type", "cr:FileObject"},
                                         {"@id", path},
                                         {"name", path},
                                         {"contentUrl", path},
                                         {"encodingFormat", encoding_of(path)},
                                         {"sha256", digest}});
    if (path.starts_with("conversations/"))
      croissant["recordSet"].push_back(record_set(path.substr(0, path.size() - sizeof(".jsonl") + 1), path));
  }
  return croissant;
}

}  // namespace decant
