#include "data_pipeline/build_store.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>

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

// Records to what the store keeps of them: a document for each conversation, or one that says why there is
// none. Some records go through each stage together, so that the tables of one stage stay in the caches
// while it works.
class RecordWorker {
 public:
  static constexpr size_t kTogether = 64;

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

  void operator()(std::span<const RawRecord> records, uint32_t file, StoreChunk& chunk) const {
    Tools& tools = tools_.local();
    std::vector<Document> documents;
    for (const RawRecord& raw : records) read(raw, file, tools, documents);
    const auto each = [&](const auto& stage) {
      for (Document& d : documents)
        if (d.out.reason.empty()) stage(d);
    };
    each([&](Document& d) { clean(d); });
    each([&](Document& d) { measure(d, tools); });
    if (config_.replace_pii) each([&](Document& d) { replace(d); });
    each([&](Document& d) { compare(d, tools); });
    each([&](Document& d) { judge(d); });
    each([&](Document& d) { make(d); });
    for (Document& d : documents) {
      if (erased_.has_customer(d.out.row.customer_key)) continue;
      if (!d.out.reason.empty()) keep_record(*d.raw, d.out);
      chunk.add(d.out);
    }
  }

 private:
  // A document on its way: `rejected` is the other conversation of a pair, which becomes one document with
  // `chosen`; `both` is the two as one.
  struct Document {
    const RawRecord* raw = nullptr;
    Conversation chosen;
    std::optional<Conversation> rejected;
    Conversation both;
    StoredRecord out;

    const Conversation& whole() const { return rejected ? both : chosen; }
    void quarantine(Stage stage, std::string reason, std::string text) {
      out.row.stage = stage;
      out.reason = std::move(reason);
      out.text = std::move(text);
    }
  };
  struct Tools;

  void read(const RawRecord& raw, uint32_t file, Tools& tools, std::vector<Document>& documents) const {
    if (erased_.has_record(digests_[file], raw.source.byte_offset)) return;
    ParsedRecord parsed = tools.parser.parse(raw);
    const auto begin = [&]() -> Document& {
      Document& d = documents.emplace_back();
      d.raw = &raw;
      d.out.row.file = file;
      d.out.row.byte_offset = raw.source.byte_offset;
      d.out.row.line = raw.source.line;
      return d;
    };
    if (!parsed.reason.empty()) {
      begin().quarantine(Stage::kRead, std::move(parsed.reason), std::move(parsed.text));
      return;
    }
    auto& conversations = parsed.conversations;
    const bool pair = config_.preference == Preference::kPairs && conversations.size() == 2;
    for (size_t i = 0; i < conversations.size(); i += pair ? 2 : 1) {
      Document& d = begin();
      d.chosen = std::move(conversations[i]);
      if (pair) d.rejected = std::move(conversations[i + 1]);
    }
  }

  void clean(Document& d) const {
    Conversation& c = d.chosen;
    StoredRecord& out = d.out;
    out.id = d.rejected ? c.pair : c.id;
    if (!is_tenant_name(c.tenant))
      return d.quarantine(Stage::kRead, "bad_tenant", "'tenant' must be 1 to 64 of a-z, 0-9 and '-'");
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
    const auto one = [&](Conversation& conversation) {
      Cleaned cleaned = clean_conversation(conversation, normalizer_);
      out.row.merged += static_cast<uint32_t>(cleaned.merged);
      out.row.trimmed += static_cast<uint32_t>(cleaned.trimmed);
      if (!cleaned.reason.empty())
        d.quarantine(Stage::kNormalize, std::move(cleaned.reason), std::move(cleaned.text));
      return out.reason.empty();
    };
    if (!one(c) || !d.rejected || !one(*d.rejected)) return;
    if (common_messages(c, *d.rejected) == std::max(c.messages.size(), d.rejected->messages.size()))
      d.quarantine(Stage::kNormalize, "same_answers", "the answers of the pair are the same when clean");
  }

  void measure(Document& d, Tools& tools) const {
    const Conversation& c = d.chosen;
    StoredRecord& out = d.out;
    if (d.rejected) d.both = whole_pair(c, *d.rejected);
    // What a pair looks like is what its wanted answer does: two answers are alike, which is no repetition.
    const Attributes attributes =
        d.rejected ? tools.meter.measure(c, duplicate_key(d.both)) : tools.meter.measure(c);
    out.row.content_key = attributes.exact_key;
    attributes.language.copy(out.row.language.data(), out.row.language.size());
    out.row.split_rank = split_rank(config_.split_salt, c.tenant, c.customer, out.id);
    out.row.messages = static_cast<uint32_t>(d.whole().messages.size());
    for (const Message& message : d.whole().messages)
      out.row.content_bytes += static_cast<uint32_t>(message.content.size());
    append_attributes_row(attributes, out.attributes);
  }

  void replace(Document& d) const {
    const PiiCounts counts = replace_people(d.chosen, d.rejected ? &*d.rejected : nullptr, key_);
    if (d.rejected) d.both = whole_pair(d.chosen, *d.rejected);
    for (size_t k = 0; k < kPiiKinds; ++k) d.out.row.pii[k] = static_cast<uint32_t>(counts.of[k]);
  }

  // What later stages compare it with others by; and its text.
  void compare(Document& d, Tools& tools) const {
    StoredRecord& out = d.out;
    out.replies = reply_keys(d.chosen);
    if (config_.duplicates.near) sketch(d.whole(), tools, out);
    if (index_ != nullptr) {
      std::vector<std::string_view> texts;
      for (const Message& message : d.whole().messages) texts.push_back(message.content);
      index_->scan(d.chosen.tenant, texts, tools.scratch, out.hits);
    }
    out.json = d.rejected ? pair_text(d.chosen, *d.rejected) : conversation_text(d.chosen);
  }

  bool judged(const Document& d) const { return d.chosen.judged && config_.preference == Preference::kPairs; }

  void judge(Document& d) const {
    const Conversation& c = d.chosen;
    if (judged(d) && !d.rejected && !c.pair.empty())
      return d.quarantine(Stage::kMix, "half_pair",
                          "the record has only one of the two conversations of a pair");
    if (c.rejected && !judged(d))
      return d.quarantine(Stage::kMix, "rejected_answer", "an answer that people did not want");
    if (judged(d))
      d.out.row.judged = static_cast<uint8_t>(d.rejected   ? JudgedAnswers::kPair
                                              : c.rejected ? JudgedAnswers::kRejected
                                                           : JudgedAnswers::kChosen);
  }

  // Its tokens.
  void make(Document& d) const {
    StoredRecord& out = d.out;
    std::vector<Conversation> answers;
    if (judged(d)) answers.push_back(d.chosen);
    if (judged(d) && d.rejected) answers.push_back(*d.rejected);
    MadeDocuments made =
        judged(d) ? make_judged_documents(std::move(answers), config_, *job_.tokenizer, *job_.chat_template)
                  : make_documents(d.chosen, config_, *job_.tokenizer, *job_.chat_template);
    if (!made.reason.empty())
      return d.quarantine(Stage::kRender, std::move(made.reason), std::move(made.text));
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
    const std::span<const RawRecord> records = batch->records;
    for (size_t i = 0; i < records.size(); i += RecordWorker::kTogether)
      worker(records.subspan(i, std::min(RecordWorker::kTogether, records.size() - i)), batch->file,
             made->chunk);
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
