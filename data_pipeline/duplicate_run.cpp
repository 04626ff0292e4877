#include "data_pipeline/duplicate_run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/radix_sort.h"

namespace decant {

namespace {

constexpr std::string_view kMagic = "decdup01";
constexpr uint64_t kHeadBytes = 64, kPageBytes = 4096;
constexpr size_t kGallop = 16;  // a run so many times the month is searched instead of walked
constexpr uint64_t kMostDocuments = 0xffffffff;

struct Footer {
  uint64_t documents, shingles, id_bytes, dropped, dropped_bytes, keeper_bytes;
  uint64_t settings;
  uint32_t bands, rows;
  char period[16];
  uint64_t table_hash;
  char unused[24];
  char magic[8];
  uint64_t footer_hash;  // of all before it
};
static_assert(sizeof(Footer) == 128);

uint64_t footer_hash(const Footer& footer) {
  return xxh3_64({reinterpret_cast<const char*>(&footer), sizeof(Footer) - sizeof(uint64_t)});
}

uint64_t aligned(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

std::string hex16(uint64_t value) {
  char bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (56 - 8 * i));
  return to_hex({bytes, 8});
}

template <class T>
std::string_view bytes_of(const T* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(T)};
}

}  // namespace

// --- writing
// ---------------------------------------------------------------------------------------------------

DuplicateRunWriter::DuplicateRunWriter(const std::filesystem::path& path, std::string period,
                                       uint64_t settings, const MinHash& minhash)
    : file_(path),
      where_(path.string()),
      period_(std::move(period)),
      settings_(settings),
      minhash_(minhash),
      keys_(static_cast<size_t>(minhash.bands())) {
  static_assert(std::endian::native == std::endian::little, "the index is written as memory has it");
  check(period_.size() < sizeof(Footer::period), where_, ": the period is too long");
  std::string head(kMagic);
  head.resize(kHeadBytes, '\0');
  file_.write(head);
}

void DuplicateRunWriter::write(std::string_view bytes) {
  file_.write(bytes);
  written_ += bytes.size();
  while (!bytes.empty()) {
    const size_t taken = std::min<size_t>(kPageBytes - page_.size(), bytes.size());
    if (page_.empty() && taken == kPageBytes) {
      page_hashes_.push_back(xxh3_64(bytes.substr(0, taken)));
    } else {
      page_.append(bytes.substr(0, taken));
      if (page_.size() == kPageBytes) {
        page_hashes_.push_back(xxh3_64(page_));
        page_.clear();
      }
    }
    bytes.remove_prefix(taken);
  }
}

template <class T>
void DuplicateRunWriter::write_numbers(const std::vector<T>& numbers) {
  write(bytes_of(numbers.data(), numbers.size()));
}

void DuplicateRunWriter::align() {
  if (written_ % 8 != 0) write(std::string(8 - written_ % 8, '\0'));
}

void DuplicateRunWriter::keep(std::string_view id, std::span<const uint64_t> shingles) {
  check(!shingles.empty() && id.size() <= kMaxDocumentIdBytes, where_, ": a document of ", shingles.size(),
        " shingles with an id of ", id.size(), " bytes; at most ", kMaxDocumentIdBytes, " are taken");
  check(shingle_end_.size() <= kMostDocuments, where_, ": too many documents for one month");
  const auto bytes = bytes_of(shingles.data(), shingles.size());
  file_.write(bytes);
  shingle_hash_.push_back(xxh3_64(bytes));
  shingle_end_.push_back(shingle_end_.back() + shingles.size());
  ids_ += id;
  id_end_.push_back(ids_.size());
  std::array<uint32_t, 256> keys;
  minhash_.band_keys(shingles, std::span(keys).first(keys_.size()));
  for (size_t b = 0; b < keys_.size(); ++b) keys_[b].push_back(keys[b]);
}

void DuplicateRunWriter::drop(std::string_view id, std::string_view keeper) {
  check(id.size() <= kMaxDocumentIdBytes && keeper.size() <= kMaxDocumentIdBytes, where_, ": an id of ",
        std::max(id.size(), keeper.size()), " bytes; at most ", kMaxDocumentIdBytes, " are taken");
  dropped_ += id;
  dropped_end_.push_back(dropped_.size());
  keepers_ += keeper;
  keeper_end_.push_back(keepers_.size());
}

std::string DuplicateRunWriter::commit() {
  write_numbers(shingle_end_);
  write_numbers(shingle_hash_);
  write_numbers(id_end_);
  write(ids_);
  align();
  std::vector<uint64_t> entries, scratch;
  std::vector<uint32_t> numbers;
  for (auto& keys : keys_) {
    entries.resize(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) entries[i] = uint64_t{keys[i]} << 32 | i;
    std::vector<uint32_t>().swap(keys);
    sort_by_upper_half(entries, scratch);
    numbers.resize(entries.size());
    for (const int half : {32, 0}) {
      for (size_t i = 0; i < entries.size(); ++i) numbers[i] = static_cast<uint32_t>(entries[i] >> half);
      write_numbers(numbers);
    }
  }
  write_numbers(dropped_end_);
  write_numbers(keeper_end_);
  write(dropped_);
  align();
  write(keepers_);
  align();
  if (!page_.empty()) page_hashes_.push_back(xxh3_64(page_));

  Footer footer{};
  footer.documents = shingle_end_.size() - 1;
  footer.shingles = shingle_end_.back();
  footer.id_bytes = ids_.size();
  footer.dropped = dropped_end_.size() - 1;
  footer.dropped_bytes = dropped_.size();
  footer.keeper_bytes = keepers_.size();
  footer.settings = settings_;
  footer.bands = static_cast<uint32_t>(minhash_.bands());
  footer.rows = static_cast<uint32_t>(minhash_.rows());
  period_.copy(footer.period, sizeof footer.period - 1);
  footer.table_hash = xxh3_64(bytes_of(page_hashes_.data(), page_hashes_.size()));
  kMagic.copy(footer.magic, sizeof footer.magic);
  footer.footer_hash = footer_hash(footer);
  file_.write(bytes_of(page_hashes_.data(), page_hashes_.size()));
  file_.write(bytes_of(&footer, 1));
  file_.commit();
  return hex16(footer.footer_hash);
}

// --- reading
// ---------------------------------------------------------------------------------------------------

void BandEntries::set_bits() {
  // 32 bits a key: one in 32 of the keys that do not occur passes. At most 16 MiB.
  const int log = std::clamp(static_cast<int>(std::bit_width(entries.size() * 32)), 6, 27);
  shift = 32 - log;
  bits.assign(size_t{1} << (log - 6), 0);
  first.assign(bits.size(), 0);
  for (size_t e = entries.size(); e-- > 0;) {
    const uint64_t bit = entries[e] >> (32 + shift);
    bits[bit >> 6] |= uint64_t{1} << (bit & 63);
    first[bit >> 6] = static_cast<uint32_t>(e);
  }
}

DuplicateRun::DuplicateRun(const std::filesystem::path& path, uint64_t settings, int64_t bands,
                           const std::string& checksum)
    : file_(path), where_(path.string()) {
  const std::string_view bytes = file_.bytes();
  check(bytes.size() >= kHeadBytes + sizeof(Footer) && bytes.starts_with(kMagic), where_,
        ": not a run of the duplicate index (", bytes.size(), " bytes)");
  Footer footer;
  std::memcpy(&footer, bytes.data() + bytes.size() - sizeof footer, sizeof footer);
  check(std::string_view(footer.magic, sizeof footer.magic) == kMagic, where_,
        ": the file is cut short: it has no footer; restore it, or remove the index and build it again");
  check(footer.footer_hash == footer_hash(footer), where_, ": the footer is damaged (checksum)");
  check(checksum.empty() || hex16(footer.footer_hash) == checksum, where_, ": expected the run ", checksum,
        ", found ", hex16(footer.footer_hash));
  check(footer.settings == settings && footer.bands == static_cast<uint64_t>(bands), where_,
        ": made with other duplicate settings, or for another tenant; remove the index and build it again");
  // Counts that the file can hold, so that no sum below wraps.
  for (const uint64_t count : {footer.documents, footer.shingles, footer.id_bytes, footer.dropped,
                               footer.dropped_bytes, footer.keeper_bytes})
    check(count <= bytes.size(), where_, ": the footer counts more than the file holds");
  check(footer.documents <= kMostDocuments, where_, ": the footer counts ", footer.documents, " documents");
  check(std::memchr(footer.period, 0, sizeof footer.period) != nullptr, where_, ": the period has no end");
  period_ = footer.period;
  documents_ = footer.documents;
  dropped_ = footer.dropped;
  bands_ = footer.bands;
  num_shingles_ = footer.shingles;
  id_bytes_ = footer.id_bytes;
  dropped_bytes_ = footer.dropped_bytes;
  keeper_bytes_ = footer.keeper_bytes;
  at_.shingle_end = kHeadBytes + 8 * num_shingles_;
  at_.shingle_hash = at_.shingle_end + 8 * (documents_ + 1);
  at_.id_end = at_.shingle_hash + 8 * documents_;
  at_.ids = at_.id_end + 8 * (documents_ + 1);
  at_.bands = at_.ids + aligned(id_bytes_);
  at_.dropped_end = at_.bands + 8 * documents_ * bands_;
  at_.keeper_end = at_.dropped_end + 8 * (dropped_ + 1);
  at_.dropped_ids = at_.keeper_end + 8 * (dropped_ + 1);
  at_.keepers = at_.dropped_ids + aligned(dropped_bytes_);
  at_.pages = at_.keepers + aligned(keeper_bytes_);
  const uint64_t pages = (at_.pages - at_.shingle_end + kPageBytes - 1) / kPageBytes;
  check(at_.pages + 8 * pages + sizeof footer == bytes.size(), where_, ": expected ",
        at_.pages + 8 * pages + sizeof footer, " bytes, found ", bytes.size());
  check(footer.table_hash == xxh3_64(bytes.substr(at_.pages, 8 * pages)), where_,
        ": the table of checksums is damaged");
  check(bytes.substr(kMagic.size(), kHeadBytes - kMagic.size()).find_first_not_of('\0') == bytes.npos, where_,
        ": the head is damaged");
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(descriptor_ >= 0, where_, ": cannot open for reading: ", std::strerror(errno));
  page_is_good_ = std::make_unique<std::atomic<uint8_t>[]>(pages);
}

DuplicateRun::~DuplicateRun() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void DuplicateRun::check_pages(uint64_t offset, uint64_t bytes) const {
  if (bytes == 0) return;
  const uint64_t from = offset - at_.shingle_end;
  for (uint64_t page = from / kPageBytes; page <= (from + bytes - 1) / kPageBytes; ++page) {
    if (page_is_good_[page].load(std::memory_order_relaxed) != 0) continue;
    const uint64_t begin = at_.shingle_end + page * kPageBytes;
    uint64_t expected;
    std::memcpy(&expected, file_.bytes().data() + at_.pages + 8 * page, sizeof expected);
    const auto content = file_.bytes().substr(begin, std::min(kPageBytes, at_.pages - begin));
    if (xxh3_64(content) != expected)
      fail(where_, ": bytes ", begin, " to ", begin + content.size(),
           " are damaged (checksum); restore the file, or remove the index and build it again");
    page_is_good_[page].store(1, std::memory_order_relaxed);
  }
}

template <class T>
std::span<const T> DuplicateRun::section(uint64_t offset, uint64_t count) const {
  check_pages(offset, count * sizeof(T));
  return {reinterpret_cast<const T*>(file_.bytes().data() + offset), count};
}

std::span<const uint64_t> DuplicateRun::shingles(size_t ordinal, std::vector<uint64_t>& buffer) const {
  if (ordinal >= documents_) fail(where_, ": document ", ordinal, " of ", documents_, " is asked for");
  const auto ends = section<uint64_t>(at_.shingle_end + 8 * ordinal, 2);
  if (ends[0] >= ends[1] || ends[1] > num_shingles_)
    fail(where_, ": the shingles of document ", ordinal, " lie outside the file");
  const uint64_t bytes = 8 * (ends[1] - ends[0]);
  buffer.resize(ends[1] - ends[0]);
  char* data = reinterpret_cast<char*>(buffer.data());
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got =
        ::pread(descriptor_, data + done, bytes - done, static_cast<off_t>(kHeadBytes + 8 * ends[0] + done));
    if (got < 0 && errno == EINTR) continue;
    check(got > 0, where_, ": cannot read: ", got < 0 ? std::strerror(errno) : "the file has shrunk");
    done += static_cast<uint64_t>(got);
  }
  if (xxh3_64({data, bytes}) != section<uint64_t>(at_.shingle_hash + 8 * ordinal, 1)[0])
    fail(where_, ": the shingles of document ", ordinal,
         " are damaged (checksum); restore the file, or remove the index and build it again");
  return buffer;
}

std::string_view DuplicateRun::text(uint64_t ends_at, uint64_t bytes_at, uint64_t bytes, size_t i,
                                    size_t count) const {
  if (i >= count) fail(where_, ": id ", i, " of ", count, " is asked for");
  const auto ends = section<uint64_t>(ends_at + 8 * i, 2);
  if (ends[0] > ends[1] || ends[1] > bytes || ends[1] - ends[0] > kMaxDocumentIdBytes)
    fail(where_, ": id ", i, " lies outside the file");
  const auto found = section<char>(bytes_at + ends[0], ends[1] - ends[0]);
  return {found.data(), found.size()};
}

std::string_view DuplicateRun::id(size_t ordinal) const {
  return text(at_.id_end, at_.ids, id_bytes_, ordinal, documents_);
}
std::string_view DuplicateRun::dropped_id(size_t i) const {
  return text(at_.dropped_end, at_.dropped_ids, dropped_bytes_, i, dropped_);
}
std::string_view DuplicateRun::dropped_keeper(size_t i) const {
  return text(at_.keeper_end, at_.keepers, keeper_bytes_, i, dropped_);
}

void DuplicateRun::find(size_t band, const BandEntries& month, size_t crowd, uint32_t run,
                        std::vector<EarlierCandidate>& found) const {
  const auto& entries = month.entries;
  if (entries.empty() || documents_ == 0) return;
  const uint64_t keys_at = at_.bands + 8 * documents_ * band;
  const auto* keys = reinterpret_cast<const uint32_t*>(file_.bytes().data() + keys_at);
  const auto key_of = [](uint64_t entry) { return static_cast<uint32_t>(entry >> 32); };
  // Documents [begin, end) of the run have the key of the month's entries from `first` on.
  const auto match = [&](size_t begin, size_t end, size_t first) {
    const auto ordinals = section<uint32_t>(keys_at + 4 * (documents_ + begin), std::min(end - begin, crowd));
    for (size_t e = first; e < entries.size() && key_of(entries[e]) == key_of(entries[first]); ++e)
      for (const uint32_t ordinal : ordinals) {
        if (ordinal >= documents_)
          fail(where_, ": band ", band, " names document ", ordinal, " of ", documents_);
        found.push_back({static_cast<uint32_t>(entries[e]), run, ordinal});
      }
  };
  if (documents_ / kGallop <= entries.size()) {
    check_pages(keys_at, 4 * documents_);
    const uint64_t* bits = month.bits.data();
    const int shift = month.shift;
    std::array<uint32_t, 1024> passed;
    for (size_t begin = 0; begin < documents_; begin += passed.size()) {
      const size_t end = std::min(begin + passed.size(), documents_);
      size_t count = 0;
      for (size_t i = begin; i < end; ++i) {  // without a branch on what is found
        const uint32_t bit = keys[i] >> shift;
        passed[count] = static_cast<uint32_t>(i);
        count += bits[bit >> 6] >> (bit & 63) & 1;
      }
      for (size_t p = 0; p < count; ++p) {
        const size_t i = passed[p];
        const uint32_t key = keys[i];
        if (i > 0 && keys[i - 1] == key) continue;  // the first of its key speaks for all
        size_t e = month.first[key >> shift >> 6];
        while (e < entries.size() && key_of(entries[e]) < key) ++e;
        if (e == entries.size() || key_of(entries[e]) != key) continue;
        size_t past = i + 1;
        while (past < documents_ && keys[past] == key) ++past;
        match(i, past, e);
      }
    }
    return;
  }
  const auto key_at = [&](size_t i) {
    check_pages(keys_at + 4 * i, 4);
    return keys[i];
  };
  size_t low = 0;
  for (size_t e = 0; e < entries.size() && low < documents_;) {
    const uint32_t key = key_of(entries[e]);
    size_t step = 1;
    while (low + step < documents_ && key_at(low + step) < key) step *= 2;
    size_t begin = low + step / 2, past = std::min(low + step + 1, documents_);
    if (step == 1) begin = low;
    while (begin < past) {
      const size_t middle = begin + (past - begin) / 2;
      if (key_at(middle) < key)
        begin = middle + 1;
      else
        past = middle;
    }
    size_t end = begin;
    while (end < documents_ && key_at(end) == key) ++end;
    if (end > begin) match(begin, end, e);
    low = begin;
    while (e < entries.size() && key_of(entries[e]) == key) ++e;
  }
}

uint64_t DuplicateRun::id_hash(std::string_view id) { return xxh3_64(id, 0x746f6d62); }

void DuplicateRun::set_erased(std::vector<uint64_t> id_hashes) {
  std::sort(id_hashes.begin(), id_hashes.end());
  id_hashes.erase(std::unique(id_hashes.begin(), id_hashes.end()), id_hashes.end());
  erased_ = std::move(id_hashes);
}

bool DuplicateRun::is_erased_id(std::string_view id) const {
  return std::binary_search(erased_.begin(), erased_.end(), id_hash(id));
}

void DuplicateRun::check_all() const {
  check_pages(at_.shingle_end, at_.pages - at_.shingle_end);
  std::vector<uint64_t> buffer;
  for (size_t i = 0; i < documents_; ++i) {
    (void)id(i);
    (void)shingles(i, buffer);
  }
  for (size_t i = 0; i < dropped_; ++i) {
    (void)dropped_id(i);
    (void)dropped_keeper(i);
  }
}

}  // namespace decant
