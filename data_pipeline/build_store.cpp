#include "data_pipeline/build_store.h"

#include <sys/mman.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/run_directory.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/dedup.h"
#include "data_pipeline/make_documents.h"
#include "data_pipeline/normalize.h"
#include "data_pipeline/pii.h"
#include "data_pipeline/read_jsonl.h"
#include "data_pipeline/split.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kStoreVersion = 1;  // of what this file does to a record
constexpr size_t kMaxQuarantinedBytes = size_t{1} << 20;
constexpr const char* kPublicPiiKey = "decant: a public key, surrogates can be recomputed";

std::string pii_key(const CorpusConfig& config) {
  const char* key = std::getenv(config.pii_key_env.c_str());
  return key != nullptr && *key != '\0' ? key : kPublicPiiKey;
}

void replace_in_json(Json& json, const std::string& tenant, const std::string& key, PiiCounts& counts) {
  if (json.is_string()) {
    json = replace_pii(json.get<std::string>(), tenant, key, counts);
  } else if (json.is_structured()) {
    for (Json& item : json) replace_in_json(item, tenant, key, counts);
  }
}

PiiCounts replace_people(Conversation& c, const std::string& key) {
  PiiCounts counts;
  for (Message& message : c.messages) {
    message.content = replace_pii(message.content, c.tenant, key, counts);
    replace_in_json(message.tool_calls, c.tenant, key, counts);
  }
  c.customer = replace_pii(c.customer, c.tenant, key, counts);
  replace_in_json(c.meta, c.tenant, key, counts);
  return counts;
}

std::array<uint64_t, 2> hash_of_hex(const std::string& hex) {
  return {std::stoull(hex.substr(0, 16), nullptr, 16), std::stoull(hex.substr(16, 16), nullptr, 16)};
}

uint16_t month_of(const std::string& period) {
  return static_cast<uint16_t>(12 * std::stoi(period.substr(0, 4)) + std::stoi(period.substr(5, 2)) - 1);
}

// One record to what the store keeps of it.
class RecordWorker {
 public:
  RecordWorker(const CorpusConfig& config, const CorpusJob& job)
      : config_(config), job_(job), key_(pii_key(config)) {}

  StoredRecord operator()(const RawRecord& raw, uint32_t file) const {
    StoredRecord out;
    out.row.file = file;
    out.row.byte_offset = raw.source.byte_offset;
    out.row.line = raw.source.line;
    work(raw, out);
    if (!out.reason.empty()) keep_record(raw.bytes, out);
    return out;
  }

 private:
  void work(const RawRecord& raw, StoredRecord& out) const {
    ParsedRecord parsed = parse_record(raw);
    Conversation& c = parsed.conversation;
    const auto quarantine = [&](Stage stage, std::string reason, std::string text) {
      out.row.stage = stage;
      out.reason = std::move(reason);
      out.text = std::move(text);
    };
    if (!parsed.reason.empty())
      return quarantine(Stage::kRead, std::move(parsed.reason), std::move(parsed.text));
    out.id = c.id;
    if (!is_tenant_name(c.tenant))
      return quarantine(Stage::kRead, "bad_tenant", "'tenant' must be 1 to 64 of a-z, 0-9 and '-'");
    out.tenant = c.tenant;
    if (c.period.empty()) c.period = job_.period;
    c.customer = normalize_text(c.customer);
    out.row.period = month_of(c.period);
    out.row.id_key = store_key_of(c.tenant, c.id);
    if (!c.customer.empty()) out.row.customer_key = store_key_of(c.tenant, c.customer);
    Cleaned cleaned = clean_conversation(c);
    out.row.merged = static_cast<uint32_t>(cleaned.merged);
    out.row.trimmed = static_cast<uint32_t>(cleaned.trimmed);
    if (!cleaned.reason.empty())
      return quarantine(Stage::kNormalize, std::move(cleaned.reason), std::move(cleaned.text));

    out.row.content_key = hash_of_hex(duplicate_key(c));
    out.row.split_rank = split_rank(config_.split_salt, c.tenant, c.customer, c.id);
    out.row.messages = static_cast<uint32_t>(c.messages.size());
    for (const Message& message : c.messages)
      out.row.content_bytes += static_cast<uint32_t>(message.content.size());
    if (config_.replace_pii) {
      const PiiCounts counts = replace_people(c, key_);
      out.row.pii = {static_cast<uint32_t>(counts.email), static_cast<uint32_t>(counts.mobile),
                     static_cast<uint32_t>(counts.id_card)};
    }
    out.json = conversation_json(c).dump();
    MadeDocuments made = make_documents(c, config_, *job_.tokenizer, *job_.chat_template);
    if (!made.reason.empty()) return quarantine(Stage::kRender, std::move(made.reason), std::move(made.text));
    out.part_tokens = std::move(made.part_tokens);
    out.tokens = std::move(made.tokens);
    out.loss_weight = std::move(made.loss_weight);
    out.row.target_tokens = static_cast<uint32_t>(made.target_tokens);
    out.row.target_bytes = static_cast<uint32_t>(made.target_bytes);
  }

  static void keep_record(std::string_view bytes, StoredRecord& out) {
    if (bytes.size() <= kMaxQuarantinedBytes) {
      out.record = bytes;
    } else {  // it is found by its position
      out.row.record_cut = 1;
      out.row.content_bytes = static_cast<uint32_t>(std::min<size_t>(bytes.size(), UINT32_MAX));
    }
  }

  const CorpusConfig& config_;
  const CorpusJob& job_;
  std::string key_;
};

// The records of some input on their way through the pipeline. The bytes are those of the mapped file.
struct Batch {
  std::shared_ptr<MappedFile> file;
  uint32_t index = 0;
  std::vector<RawRecord> records;
  uint64_t begin = 0, bytes = 0;
  StorePosition end;
};

// Reads on from a position, some records at a time. Serial.
class BatchReader {
 public:
  BatchReader(const std::vector<InputFile>& inputs, StorePosition position, uint64_t batch_bytes)
      : inputs_(inputs), position_(position), batch_bytes_(batch_bytes) {}

  // Null at the end of the last file.
  std::shared_ptr<Batch> next() {
    while (position_.file < inputs_.size()) {
      const InputFile& input = inputs_[position_.file];
      if (file_ == nullptr) {
        file_ = std::make_shared<MappedFile>(input.path);
        if (!file_->bytes().empty())
          ::madvise(const_cast<char*>(file_->bytes().data()), file_->bytes().size(), MADV_SEQUENTIAL);
      }
      auto batch = std::make_shared<Batch>();
      batch->file = file_;
      batch->index = static_cast<uint32_t>(position_.file);
      batch->begin = position_.byte_offset;
      uint64_t end = position_.byte_offset, line = position_.line;
      while (end - batch->begin < batch_bytes_) {
        const auto record = next_line(file_->bytes(), input.name, end, line);
        if (!record) break;
        batch->records.push_back(*record);
      }
      batch->bytes = end - batch->begin;
      position_.records += batch->records.size();
      position_.byte_offset = end;
      position_.line = line;
      if (end >= file_->bytes().size()) {
        position_ = {position_.file + 1, 0, 0, 0};
        file_ = nullptr;
      }
      batch->end = position_;
      if (!batch->records.empty()) return batch;
    }
    return nullptr;
  }

 private:
  const std::vector<InputFile>& inputs_;
  StorePosition position_;
  uint64_t batch_bytes_;
  std::shared_ptr<MappedFile> file_;
};

// Pages of the input that are done with count as the program's memory until they are given back.
void give_back(const Batch& batch) {
  constexpr uint64_t kPage = 4096;
  const uint64_t begin = (batch.begin + kPage - 1) / kPage * kPage;
  const uint64_t end = (batch.begin + batch.bytes) / kPage * kPage;
  if (begin < end)
    ::madvise(const_cast<char*>(batch.file->bytes().data()) + begin, end - begin, MADV_DONTNEED);
}

struct Made {
  std::shared_ptr<Batch> batch;
  StoreChunk chunk;
};

void fill_store(const CorpusConfig& config, const CorpusJob& job, const std::vector<InputFile>& inputs,
                StoreWriter& writer) {
  uint64_t total = 0, done = 0;
  for (uint64_t i = writer.position().file; i < inputs.size(); ++i) total += fs::file_size(inputs[i].path);
  Progress progress("corpus: reading", static_cast<int64_t>(total), "bytes");
  BatchReader reader(inputs, writer.position(), job.limits.chunk_bytes);
  const RecordWorker worker(config, job);
  const auto threads = static_cast<size_t>(std::max(1, tbb::this_task_arena::max_concurrency()));
  const auto read = [&](tbb::flow_control& control) -> std::shared_ptr<Batch> {
    auto batch = reader.next();
    if (batch == nullptr) control.stop();
    return batch;
  };
  const auto work = [&](const std::shared_ptr<Batch>& batch) {
    auto made = std::make_shared<Made>();
    made->batch = batch;
    for (const RawRecord& record : batch->records) made->chunk.add(worker(record, batch->index));
    made->chunk.end = batch->end;
    made->chunk.input_bytes = batch->bytes;
    return made;
  };
  const auto write = [&](const std::shared_ptr<Made>& made) {
    writer.append(std::move(made->chunk));
    give_back(*made->batch);
    done += made->batch->bytes;
    progress.update(static_cast<int64_t>(done));
  };
  using tbb::filter_mode;
  tbb::parallel_pipeline(
      2 * threads + 1,
      tbb::make_filter<void, std::shared_ptr<Batch>>(filter_mode::serial_in_order, read) &
          tbb::make_filter<std::shared_ptr<Batch>, std::shared_ptr<Made>>(filter_mode::parallel, work) &
          tbb::make_filter<std::shared_ptr<Made>, void>(filter_mode::serial_in_order, write));
}

std::string store_key(const CorpusConfig& config, const CorpusJob& job, const std::vector<InputFile>& inputs,
                      Json& input_list) {
  std::string text = concat("version ", kStoreVersion, "\n", store_settings(config), "period: ", job.period,
                            "\nchunk ", job.limits.chunk_bytes, " block ", job.limits.block_bytes, "\n");
  text += job.tokenizer->sha256() + "\n" + job.chat_template->sha256() + "\n";
  // Not the key of the surrogates, but a digest that does not give it away.
  if (config.replace_pii) text += sha256_hex("decant pii key " + sha256_hex(pii_key(config))) + "\n";
  for (const InputFile& input : inputs) {
    const std::string digest = digest_path(input.path);
    text += digest + " " + input.name + "\n";
    input_list.push_back({{"name", input.name}, {"sha256", digest}, {"bytes", fs::file_size(input.path)}});
  }
  return sha256_hex(text);
}

}  // namespace

std::string build_store(const CorpusConfig& config, const CorpusJob& job, const fs::path& folder) {
  check(is_period(job.period), "corpus: the period must be YYYY-MM, found '", job.period, "'");
  check(job.tokenizer->vocab_size() <= (int64_t{1} << 32),
        "corpus: the vocabulary does not fit into 32 bits");
  const auto inputs = expand_inputs(config.inputs, job.base_folder);
  Json input_list = Json::array();
  std::string key = store_key(config, job, inputs, input_list);
  const fs::path key_file = folder / "store.key";
  const bool same = fs::is_regular_file(key_file) && read_file(key_file) == key + "\n";
  if (same && store_is_finished(folder)) return key;
  if (!same) {
    if (fs::is_directory(folder)) {
      fs::remove(key_file);  // first: a kill in the middle of clearing leaves a folder that is cleared again
      for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().filename() != "step.key") fs::remove_all(entry.path());  // the run directory's
    }
    fs::create_directories(folder);
    write_file(key_file, key + "\n");
  }
  if (config.replace_pii && pii_key(config) == kPublicPiiKey)
    log_warning("corpus: ", config.pii_key_env,
                " is not set: surrogates are made with a public key, so who knows a number can recognise its "
                "surrogate");
  uint64_t input_bytes = 0;
  for (const InputFile& input : inputs) input_bytes += fs::file_size(input.path);
  check_free_disk(folder, 4 * input_bytes + (uint64_t{16} << 20));
  StoreWriter writer(folder, job.limits.block_bytes);
  fill_store(config, job, inputs, writer);
  Json facts;
  facts["key"] = key;
  facts["inputs"] = std::move(input_list);
  writer.finish(std::move(facts));
  check(writer.documents() > 0, "corpus: empty: no record in ", inputs.size(), " files");
  return key;
}

}  // namespace decant
