#include "data_pipeline/build_store.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/run_directory.h"
#include "data_pipeline/attributes.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/dedup.h"
#include "data_pipeline/make_documents.h"
#include "data_pipeline/mix.h"
#include "data_pipeline/normalize.h"
#include "data_pipeline/pii.h"
#include "data_pipeline/record_parser.h"
#include "data_pipeline/record_reader.h"
#include "data_pipeline/split.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

static_assert(kPiiKinds <= kStorePiiKinds);
constexpr int64_t kStoreVersion = 2;  // of what this file does to a record
constexpr size_t kMaxQuarantinedBytes = size_t{1} << 20;
constexpr const char* kPublicPiiKey = "decant: a public key, surrogates can be recomputed";

void replace_in_json(Json& json, const std::string& tenant, const std::string& key, PiiCounts& counts) {
  if (json.is_string()) {
    json = replace_pii(json.get<std::string>(), tenant, key, counts);
  } else if (json.is_structured()) {
    for (Json& item : json) replace_in_json(item, tenant, key, counts);
  }
}

void replace_in_message(Message& message, const std::string& tenant, const std::string& key,
                        PiiCounts& counts) {
  message.content = replace_pii(message.content, tenant, key, counts);
  replace_in_json(message.tool_calls, tenant, key, counts);
}

// Of a pair (`rejected` is not null) what both have in common is counted once.
PiiCounts replace_people(Conversation& c, Conversation* rejected, const std::string& key) {
  PiiCounts counts;
  const size_t common = rejected == nullptr ? 0 : common_messages(c, *rejected);
  for (Message& message : c.messages) replace_in_message(message, c.tenant, key, counts);
  if (rejected != nullptr) {
    auto& worse = rejected->messages;
    std::copy_n(c.messages.begin(), common, worse.begin());
    for (size_t m = common; m < worse.size(); ++m) replace_in_message(worse[m], c.tenant, key, counts);
  }
  c.customer = replace_pii(c.customer, c.tenant, key, counts);
  replace_in_json(c.meta, c.tenant, key, counts);
  return counts;
}

uint16_t month_of(const std::string& period) {
  return static_cast<uint16_t>(12 * std::stoi(period.substr(0, 4)) + std::stoi(period.substr(5, 2)) - 1);
}

// A month that a record's meta says; 0 where it says none.
uint16_t month_in_meta(const Json& meta, const char* name) {
  if (!meta.is_object() || !meta.contains(name) || !meta[name].is_string()) return 0;
  const auto text = meta[name].get<std::string>();
  if (!is_period(text)) return 0;
  return static_cast<uint16_t>(std::min(month_number(text), int32_t{UINT16_MAX}));  // 9999-12: for ever
}

// One record to what the store keeps of it: a document for each of its conversations, or one that says why
// there is none.
class RecordWorker {
 public:
  RecordWorker(const CorpusConfig& config, const CorpusJob& job)
      : config_(config),
        job_(job),
        key_(corpus_secret(config)),
        normalizer_(config.normalize),
        erased_(job.erasure),
        index_(decontamination_index(config, job.base_folder)),
        tools_([&config] { return Tools(config.duplicates.compare); }) {
    if (erased_.records.empty()) digests_.resize(job.files.size());
    for (size_t i = digests_.size(); i < job.files.size(); ++i)
      digests_.push_back(digest_path(job.files[i].path));
  }

  void operator()(const RawRecord& raw, uint32_t file, StoreChunk& chunk) const {
    StoredRecord start;
    start.row.file = file;
    start.row.byte_offset = raw.source.byte_offset;
    start.row.line = raw.source.line;
    if (erased_.has_record(digests_[file], raw.source.byte_offset)) return;
    ParsedRecord parsed = tools_.local().parser.parse(raw);
    if (!parsed.reason.empty()) {
      start.reason = std::move(parsed.reason);
      start.text = std::move(parsed.text);
      keep_record(raw, start);
      chunk.add(start);
      return;
    }
    auto& conversations = parsed.conversations;
    const bool pair = config_.preference == Preference::kPairs && conversations.size() == 2;
    for (size_t i = 0; i < conversations.size(); i += pair ? 2 : 1) {
      StoredRecord out = start;
      work(conversations[i], pair ? &conversations[i + 1] : nullptr, out);
      if (erased_.has_customer(out.row.customer_key)) continue;
      if (!out.reason.empty()) keep_record(raw, out);
      chunk.add(out);
    }
  }

 private:
  // `rejected`: the other conversation of a pair, which becomes one document with this one; or null.
  void work(Conversation& c, Conversation* rejected, StoredRecord& out) const {
    const auto quarantine = [&](Stage stage, std::string reason, std::string text) {
      out.row.stage = stage;
      out.reason = std::move(reason);
      out.text = std::move(text);
    };
    out.id = rejected == nullptr ? c.id : c.pair;
    if (!is_tenant_name(c.tenant))
      return quarantine(Stage::kRead, "bad_tenant", "'tenant' must be 1 to 64 of a-z, 0-9 and '-'");
    out.tenant = c.tenant;
    if (c.period.empty()) c.period = job_.period;
    c.customer = normalize_text(c.customer);
    out.row.period = month_of(c.period);
    out.row.id_key = store_key_of(c.tenant, out.id);
    if (!c.customer.empty()) {
      out.row.customer_key = customer_tag(key_, c.tenant, c.customer);
      out.row.customer_hash = customer_hash(c.tenant, c.customer);
    }
    out.row.valid_from = month_in_meta(c.meta, "valid_from");
    out.row.valid_until = month_in_meta(c.meta, "valid_until");
    Cleaned cleaned = clean_conversation(c, normalizer_);
    out.row.merged = static_cast<uint32_t>(cleaned.merged);
    out.row.trimmed = static_cast<uint32_t>(cleaned.trimmed);
    if (!cleaned.reason.empty())
      return quarantine(Stage::kNormalize, std::move(cleaned.reason), std::move(cleaned.text));
    if (rejected != nullptr) {
      cleaned = clean_conversation(*rejected, normalizer_);
      out.row.merged += static_cast<uint32_t>(cleaned.merged);
      out.row.trimmed += static_cast<uint32_t>(cleaned.trimmed);
      if (!cleaned.reason.empty())
        return quarantine(Stage::kNormalize, std::move(cleaned.reason), std::move(cleaned.text));
      if (common_messages(c, *rejected) == std::max(c.messages.size(), rejected->messages.size()))
        return quarantine(Stage::kNormalize, "same_answers",
                          "the answers of the pair are the same when clean");
    }

    Tools& tools = tools_.local();
    Conversation both;
    if (rejected != nullptr) both = whole_pair(c, *rejected);
    const Conversation& whole = rejected == nullptr ? c : both;
    // What a pair looks like is what its wanted answer does: two answers are alike, which is no repetition.
    Attributes attributes =
        rejected == nullptr ? tools.meter.measure(c) : tools.meter.measure(c, duplicate_key(whole));
    out.row.content_key = attributes.exact_key;
    attributes.language.copy(out.row.language.data(), out.row.language.size());
    out.row.split_rank = split_rank(config_.split_salt, c.tenant, c.customer, out.id);
    out.row.messages = static_cast<uint32_t>(whole.messages.size());
    for (const Message& message : whole.messages)
      out.row.content_bytes += static_cast<uint32_t>(message.content.size());
    if (config_.replace_pii) {
      const PiiCounts counts = replace_people(c, rejected, key_);
      if (rejected != nullptr) both = whole_pair(c, *rejected);
      for (size_t k = 0; k < kPiiKinds; ++k) out.row.pii[k] = static_cast<uint32_t>(counts.of[k]);
    }
    append_attributes_row(attributes, out.attributes);
    out.replies = reply_keys(c);
    if (config_.duplicates.near) sketch(whole, tools, out);
    if (index_ != nullptr) {
      std::vector<std::string_view> texts;
      for (const Message& message : whole.messages) texts.push_back(message.content);
      index_->scan(c.tenant, texts, tools.scratch, out.hits);
    }
    out.json = rejected == nullptr ? conversation_text(c) : pair_text(c, *rejected);
    const bool judged = c.judged && config_.preference == Preference::kPairs;
    if (judged && rejected == nullptr && !c.pair.empty())
      return quarantine(Stage::kMix, "half_pair",
                        "the record has only one of the two conversations of a pair");
    if (c.rejected && !judged)
      return quarantine(Stage::kMix, "rejected_answer", "an answer that people did not want");
    if (judged)
      out.row.judged = static_cast<uint8_t>(rejected != nullptr ? JudgedAnswers::kPair
                                            : c.rejected        ? JudgedAnswers::kRejected
                                                                : JudgedAnswers::kChosen);
    std::vector<Conversation> answers;
    if (judged) answers.push_back(c);
    if (judged && rejected != nullptr) answers.push_back(*rejected);
    MadeDocuments made =
        judged ? make_judged_documents(std::move(answers), config_, *job_.tokenizer, *job_.chat_template)
               : make_documents(c, config_, *job_.tokenizer, *job_.chat_template);
    if (!made.reason.empty()) return quarantine(Stage::kRender, std::move(made.reason), std::move(made.text));
    out.part_tokens = std::move(made.part_tokens);
    out.tokens = std::move(made.tokens);
    out.loss_weight = std::move(made.loss_weight);
    out.row.target_tokens = static_cast<uint32_t>(made.target_tokens);
    out.row.target_bytes = static_cast<uint32_t>(made.target_bytes);
  }

  // What one thread works with.
  struct Tools {
    explicit Tools(const NearDuplicateConfig& compare) : sketcher(compare) {}
    RecordParser parser;
    AttributeMeter meter;
    Sketcher sketcher;
    DecontaminationIndex::Scratch scratch;
  };

  static void sketch(const Conversation& c, Tools& tools, StoredRecord& out) {
    const std::vector<std::string> texts = duplicate_texts(c);
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    const Sketch sketch = tools.sketcher.sketch(views);
    out.row.shingles = static_cast<uint32_t>(sketch.shingles.size());
    if (!sketch.shingles.empty()) out.band_keys.assign(sketch.band_keys.begin(), sketch.band_keys.end());
  }

  static void keep_record(const RawRecord& raw, StoredRecord& out) {
    if (raw.size <= kMaxQuarantinedBytes) {
      out.record = raw.bytes;
    } else {  // it is found by its position
      out.row.record_cut = 1;
      out.row.content_bytes = static_cast<uint32_t>(std::min<uint64_t>(raw.size, UINT32_MAX));
    }
  }

  const CorpusConfig& config_;
  const CorpusJob& job_;
  std::string key_;
  TextNormalizer normalizer_;
  const Erasure& erased_;
  std::vector<std::string> digests_;  // of the files, where records of them are erased
  std::unique_ptr<DecontaminationIndex> index_;
  mutable tbb::enumerable_thread_specific<Tools> tools_;
};

// Some records in a row on their way through the pipeline.
struct RecordBatch {
  uint32_t file = 0;
  std::vector<RawRecord> records;
  uint64_t bytes = 0;
  StorePosition end;
};

// Reads on from a position, some records at a time. Serial.
class BatchReader {
 public:
  BatchReader(const std::vector<InputFile>& files, StorePosition position, uint64_t batch_bytes)
      : files_(files), position_(position), batch_bytes_(batch_bytes) {
    if (position_.records == 0) return;
    reader_ = open_records(files_.at(position_.file));
    RawRecord record;
    for (uint64_t i = 0; i < position_.records; ++i)
      if (!reader_->next(record))
        fail(files_[position_.file].name, ": the file has become shorter while the corpus was read");
  }

  // Null at the end of the last file.
  std::shared_ptr<RecordBatch> next() {
    while (position_.file < files_.size()) {
      if (reader_ == nullptr) reader_ = open_records(files_[position_.file]);
      auto batch = std::make_shared<RecordBatch>();
      batch->file = static_cast<uint32_t>(position_.file);
      bool more = true;
      while (more && batch->bytes < batch_bytes_) {
        RawRecord record;
        more = reader_->next(record);
        if (!more) break;
        batch->bytes += record.size;
        batch->records.push_back(std::move(record));
      }
      position_.records += batch->records.size();
      if (!more) {
        position_ = {position_.file + 1, 0};
        reader_ = nullptr;
      }
      batch->end = position_;
      if (!batch->records.empty()) return batch;
    }
    return nullptr;
  }

 private:
  const std::vector<InputFile>& files_;
  StorePosition position_;
  uint64_t batch_bytes_;
  std::unique_ptr<RecordReader> reader_;
};

struct Made {
  uint64_t bytes = 0;
  StoreChunk chunk;
};

void fill_store(const CorpusConfig& config, const CorpusJob& job, StoreWriter& writer) {
  uint64_t done = 0;
  Progress progress("corpus: reading", 0, "bytes");
  BatchReader reader(job.files, writer.position(), job.limits.chunk_bytes);
  const RecordWorker worker(config, job);
  const auto threads = static_cast<size_t>(std::max(1, tbb::this_task_arena::max_concurrency()));
  const auto read = [&](tbb::flow_control& control) -> std::shared_ptr<RecordBatch> {
    auto batch = reader.next();
    if (batch == nullptr) control.stop();
    return batch;
  };
  const auto work = [&](const std::shared_ptr<RecordBatch>& batch) {
    auto made = std::make_shared<Made>();
    for (const RawRecord& record : batch->records) worker(record, batch->file, made->chunk);
    made->chunk.end = batch->end;
    made->chunk.input_bytes = made->bytes = batch->bytes;
    return made;
  };
  const auto write = [&](const std::shared_ptr<Made>& made) {
    writer.append(std::move(made->chunk));
    progress.update(static_cast<int64_t>(done += made->bytes));
  };
  using tbb::filter_mode;
  tbb::parallel_pipeline(
      2 * threads + 1,
      tbb::make_filter<void, std::shared_ptr<RecordBatch>>(filter_mode::serial_in_order, read) &
          tbb::make_filter<std::shared_ptr<RecordBatch>, std::shared_ptr<Made>>(filter_mode::parallel, work) &
          tbb::make_filter<std::shared_ptr<Made>, void>(filter_mode::serial_in_order, write));
}

std::string store_key(const CorpusConfig& config, const CorpusJob& job, Json& input_list) {
  std::string text = concat("version ", kStoreVersion, "\n", store_settings(config), "period: ", job.period,
                            "\nchunk ", job.limits.chunk_bytes, " block ", job.limits.block_bytes, "\n");
  text += job.tokenizer->sha256() + "\n" + job.chat_template->sha256() + "\n";
  // Not the key of the surrogates, but a digest that does not give it away.
  if (config.replace_pii) text += surrogates_sha256(config) + "\n";
  for (const fs::path& file : evaluation_files(config, job.base_folder)) text += digest_path(file) + "\n";
  for (const InputFile& input : job.files) {
    const std::string digest = digest_path(input.path);
    text += digest + " " + input.name + "\n";
    input_list.push_back({{"name", input.name}, {"sha256", digest}, {"bytes", fs::file_size(input.path)}});
    if (!input.source->license.empty()) input_list.back()["license"] = input.source->license;
    text += "source " + input.source->shown_name() + "\n";
    input_list.back()["source"] = input.source->shown_name();
  }
  return sha256_hex(text);
}

}  // namespace

std::string corpus_secret(const CorpusConfig& config) {
  const char* key = std::getenv(config.pii_key_env.c_str());
  return key != nullptr && *key != '\0' ? key : kPublicPiiKey;
}

std::string surrogates_sha256(const CorpusConfig& config) {
  return sha256_hex("decant pii key " + sha256_hex(corpus_secret(config)));
}

std::string build_store(const CorpusConfig& config, const CorpusJob& job, const fs::path& folder) {
  check(is_period(job.period), "corpus: the period must be YYYY-MM, found '", job.period, "'");
  check(job.tokenizer->vocab_size() <= (int64_t{1} << 32),
        "corpus: the vocabulary does not fit into 32 bits");
  Json input_list = Json::array();
  std::string key = store_key(config, job, input_list);
  const fs::path key_file = folder / "store.key", erasure_file = folder / "erasure.json";
  // What the blocks there are without. Less to erase than before means to read the inputs again.
  const Erasure before = fs::exists(erasure_file) ? read_erasure(erasure_file) : Erasure();
  const bool same =
      fs::is_regular_file(key_file) && read_file(key_file) == key + "\n" && job.erasure.includes(before);
  if (same && store_is_finished(folder) && before.includes(job.erasure)) return key;
  if (!same) {
    if (fs::is_directory(folder)) {
      fs::remove(key_file);  // first: a kill in the middle of clearing leaves a folder that is cleared again
      for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().filename() != "step.key") fs::remove_all(entry.path());  // the run directory's
    }
    fs::create_directories(folder);
    write_file(key_file, key + "\n");
  }
  if (!job.erasure.empty()) {
    fs::remove(folder / "store.json");
    write_json(erasure_file, erasure_json(job.erasure));
    const uint64_t blocks = remove_documents(folder, [&](const StoreRow& row) {
      return job.erasure.has_customer(row.customer_key) ||
             job.erasure.has_record(input_list.at(row.file).at("sha256").get<std::string>(), row.byte_offset);
    });
    if (blocks > 0) log_info("corpus: documents were erased from ", blocks, " blocks of the store");
  }
  if (config.replace_pii && corpus_secret(config) == kPublicPiiKey)
    log_warning("corpus: ", config.pii_key_env,
                " is not set: surrogates are made with a public key, so who knows a number can recognise its "
                "surrogate");
  uint64_t input_bytes = 0;
  for (const InputFile& input : job.files) input_bytes += fs::file_size(input.path);
  check_free_disk(folder, 4 * input_bytes + (uint64_t{16} << 20));
  StoreWriter writer(folder, job.limits.block_bytes);
  fill_store(config, job, writer);
  Json facts;
  facts["key"] = key;
  facts["period"] = job.period;
  facts["tokenizer_sha256"] = job.tokenizer->sha256();
  facts["template_sha256"] = job.chat_template->sha256();
  facts["surrogates_sha256"] = surrogates_sha256(config);
  facts["erasure_sha256"] = sha256_hex(erasure_json(job.erasure).dump());
  facts["inputs"] = std::move(input_list);
  writer.finish(std::move(facts));
  check(writer.documents() > 0, "corpus: empty: no record in ", job.files.size(), " files");
  return key;
}

}  // namespace decant
