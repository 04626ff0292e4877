#include "data_pipeline/erase.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "data_pipeline/ascii.h"
#include "data_pipeline/normalize.h"
#include "data_pipeline/unicode.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

bool is_word(char c) { return is_ascii_digit(c) || is_ascii_letter(c); }

// --- which documents

bool is_separator(char c) { return c == ' ' || c == '-' || c == '.'; }

// A value as it is compared, and whether it is a number, whose separators do not count.
struct Value {
  std::string text;
  bool number;
};
Value compared_value(const std::string& value) {
  std::string text = ascii_lower(matching_text(value));
  const bool number =
      std::all_of(text.begin(), text.end(), [](char c) { return is_ascii_digit(c) || is_separator(c); }) &&
      std::any_of(text.begin(), text.end(), is_ascii_digit);
  if (number) std::erase_if(text, is_separator);
  return {std::move(text), number};
}

bool holds_value(std::string_view text, const Value& value) {  // `text` in lower case
  if (value.text.empty()) return false;
  for (size_t at = text.find(value.text[0]); at != std::string_view::npos;
       at = text.find(value.text[0], at + 1)) {
    if (at > 0 && is_word(text[at - 1]) && is_word(value.text[0])) continue;
    size_t end = at, k = 0;
    while (k < value.text.size() && end < text.size()) {
      if (text[end] == value.text[k]) {
        ++end, ++k;
      } else if (value.number && k > 0 && is_separator(text[end]) && !is_separator(text[end - 1])) {
        ++end;
      } else {
        break;
      }
    }
    if (k < value.text.size()) continue;
    if (end < text.size() && is_word(text[end]) && is_word(value.text.back())) continue;
    return true;
  }
  return false;
}

void collect_strings(const Json& json, std::vector<std::string>& out) {
  if (json.is_string()) {
    out.push_back(json.get<std::string>());
  } else if (json.is_number_integer()) {
    out.push_back(json.dump());
  } else if (json.is_structured()) {
    for (const Json& item : json) collect_strings(item, out);
  }
}

// --- traces

constexpr size_t kPieceStride = 40;
constexpr size_t kLeastPiece = 16;

struct Trace {
  std::string bytes;
  TraceKind kind;
  int64_t document;
  bool whole_word;
  uint32_t piece;       // the trace that it is a form of, often itself
  bool shared = false;  // of a piece: with a kept document
};

template <size_t kLength>
uint64_t anchor_hash(const char* p) {
  uint64_t first = 0, second = 0;
  std::memcpy(&first, p, std::min<size_t>(kLength, 8));
  uint64_t h = first * 0x9E3779B97F4A7C15ull;
  if constexpr (kLength == 16) {
    std::memcpy(&second, p + 8, 8);
    h = (h ^ (h >> 29) ^ second) * 0xD6E8FEB86659FD93ull;
  }
  return h ^ (h >> 32);
}

// Traces by the hash of their first bytes.
template <size_t kLength>
struct Anchors {
  std::vector<std::pair<uint64_t, uint32_t>> list;
  std::vector<uint64_t> filter;

  void add(const std::string& bytes, uint32_t trace) {
    list.emplace_back(anchor_hash<kLength>(bytes.data()), trace);
  }

  void finish() {
    std::sort(list.begin(), list.end());
    size_t words = 1024;
    while (words * 8 < list.size()) words *= 2;
    filter.assign(words, 0);
    for (const auto& [hash, index] : list) filter[hash >> 6 & (words - 1)] |= uint64_t{1} << (hash & 63);
  }
  bool may_hold(uint64_t hash) const {
    return (filter[hash >> 6 & (filter.size() - 1)] >> (hash & 63) & 1) != 0;
  }

  // Calls found(index of the trace, place) for traces that begin in [begin, end); bytes beyond `end` are
  // looked at.
  template <class Found>
  void find(const std::vector<Trace>& traces, std::string_view bytes, size_t begin, size_t end,
            const Found& found) const {
    if (list.empty() || bytes.size() < kLength) return;
    end = std::min(end, bytes.size() - kLength + 1);
    for (size_t at = begin; at < end; ++at) {
      const uint64_t hash = anchor_hash<kLength>(bytes.data() + at);
      if (!may_hold(hash)) continue;
      auto i = std::lower_bound(list.begin(), list.end(), std::pair(hash, uint32_t{0}));
      for (; i != list.end() && i->first == hash; ++i) {
        const Trace& trace = traces[i->second];
        if (bytes.compare(at, trace.bytes.size(), trace.bytes) != 0) continue;
        const size_t after = at + trace.bytes.size();
        const bool inside = (at > 0 && is_word(bytes[at - 1]) && is_word(trace.bytes[0])) ||
                            (after < bytes.size() && is_word(bytes[after]) && is_word(trace.bytes.back()));
        if (!trace.whole_word || !inside) found(i->second, at);
      }
    }
  }
};

std::string json_text(const std::string& text, bool ascii) {  // without the quotes
  const std::string quoted = Json(text).dump(-1, ' ', ascii, Json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

// What base64 makes of `bytes` wherever they begin within a group of three, without the letters at the ends
// that hang on neighbours.
std::vector<std::string> base64_forms(std::string_view bytes) {
  static constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::string> forms;
  for (size_t shift = 0; shift < 3; ++shift) {
    const size_t bits_before = 8 * shift, bits_end = bits_before + 8 * bytes.size();
    const size_t first = (bits_before + 5) / 6, last = bits_end / 6;  // letters that hang on `bytes` alone
    std::string form;
    for (size_t letter = first; letter < last; ++letter) {
      uint32_t value = 0;
      for (size_t bit = 6 * letter - bits_before, i = 0; i < 6; ++i, ++bit)
        value = value << 1 | (static_cast<unsigned char>(bytes[bit / 8]) >> (7 - bit % 8) & 1u);
      form += kLetters[value];
    }
    forms.push_back(std::move(form));
  }
  return forms;
}

bool needs_no_escape(unsigned char c) { return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f; }

}  // namespace

ErasureReason erasure_reason(const Conversation& conversation, const ErasureRequest& request) {
  if (conversation.tenant != request.tenant) return ErasureReason::kNone;
  if (!conversation.customer.empty()) {
    const std::string customer = normalize_text(conversation.customer);
    for (const std::string& key : request.customers)
      if (customer == normalize_text(key)) return ErasureReason::kCustomer;
  }
  if (request.values.empty()) return ErasureReason::kNone;
  std::vector<std::string> texts;
  for (const Message& message : conversation.messages) {
    texts.insert(texts.end(), {message.content, message.reasoning, message.name});
    collect_strings(message.tool_calls, texts);
  }
  collect_strings(conversation.tools, texts);
  collect_strings(conversation.meta, texts);
  std::vector<Value> values;
  for (const std::string& value : request.values) values.push_back(compared_value(value));
  for (const std::string& text : texts) {
    const std::string folded = ascii_lower(matching_text(text));
    for (const Value& value : values)
      if (holds_value(folded, value)) return ErasureReason::kValue;
  }
  return ErasureReason::kNone;
}

const char* trace_kind_name(TraceKind kind) {
  switch (kind) {
    case TraceKind::kCustomer:
      return "customer";
    case TraceKind::kValue:
      return "value";
    case TraceKind::kDocumentId:
      return "document_id";
    case TraceKind::kText:
      return "text";
    case TraceKind::kHash:
      return "hash";
  }
  return "?";
}

struct ErasureTraces::State {
  std::vector<Trace> traces;
  std::map<std::pair<std::string, bool>, uint32_t> known;  // by bytes and whole_word
  std::vector<std::pair<int64_t, uint32_t>> pieces;        // of documents
  Anchors<16> long_anchors;
  Anchors<8> middle_anchors;
  Anchors<4> short_anchors;
  size_t documents = 0, longest = 0;
  bool ready = false;

  static constexpr uint32_t kItself = 0xffffffff;

  uint32_t add(std::string bytes, TraceKind kind, int64_t document, bool whole_word,
               uint32_t piece = kItself) {
    const auto index = static_cast<uint32_t>(traces.size());
    const auto [place, added] = known.try_emplace({bytes, whole_word}, index);
    if (!added) return place->second;
    longest = std::max(longest, bytes.size());
    traces.push_back({std::move(bytes), kind, document, whole_word, piece == kItself ? index : piece});
    ready = false;
    return index;
  }

  void add_base64(std::string_view bytes, TraceKind kind, int64_t document, uint32_t piece = kItself) {
    if (bytes.size() < 12) return;
    for (std::string& form : base64_forms(bytes)) add(std::move(form), kind, document, false, piece);
  }

  bool is_shared(const Trace& trace) const { return traces[trace.piece].shared; }

  void add_key(const std::string& key, TraceKind kind, int64_t document) {
    if (key.empty()) return;
    uint32_t first = kItself;  // all forms are of one key: what keeps one keeps all
    const auto add = [&](const std::string& bytes, bool whole_word) {
      const uint32_t index = this->add(bytes, kind, document, whole_word, first);
      if (first == kItself) first = traces[index].piece;
    };
    for (const std::string& form : {key, json_text(key, false), json_text(key, true)}) {
      if (form.size() >= kShortKey) {
        add(form, true);
      } else if (form.size() >= 2) {
        add("\"" + form + "\"", false);
        add("\"" + form + "\\\"", false);  // JSON within a JSON string
      } else {
        for (const char* before : {":\"", " \"", "[\"", ",\""}) add(before + form + "\"", false);
      }
    }
    // Ids stand as text wherever they are written; a key may be a number in a record.
    const bool short_number = kind != TraceKind::kDocumentId && key.size() < kShortKey &&
                              std::all_of(key.begin(), key.end(), is_ascii_digit);
    if (short_number && key.size() >= 3)
      for (const char* before : {":", ": "}) add(before + key, true);
    add_base64(key, kind, document, first);
  }

  void add_pieces(std::string_view text, int64_t document) {
    size_t count = 0;
    for (size_t at = 0; at < text.size() && count < kMaxPiecesPerText;) {
      size_t end = at;
      while (end < text.size() && end - at < kPiece && needs_no_escape(static_cast<unsigned char>(text[end])))
        ++end;
      const size_t stop = end;
      while (end > at && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
      if (end - at >= kLeastPiece) {
        const std::string_view piece = text.substr(at, end - at);
        const uint32_t index = add(std::string(piece), TraceKind::kText, document, false);
        add_base64(piece, TraceKind::kText, document, index);
        pieces.emplace_back(document, index);
        ++count;
        at += kPieceStride;
      } else {
        at = stop + 1;
      }
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    }
  }

  void get_ready() {
    if (ready) return;
    long_anchors.list.clear(), middle_anchors.list.clear(), short_anchors.list.clear();
    for (uint32_t i = 0; i < traces.size(); ++i) {
      const std::string& bytes = traces[i].bytes;
      if (bytes.size() >= 16) {
        long_anchors.add(bytes, i);
      } else if (bytes.size() >= 8) {
        middle_anchors.add(bytes, i);
      } else {
        short_anchors.add(bytes, i);
      }
    }
    long_anchors.finish(), middle_anchors.finish(), short_anchors.finish();
    ready = true;
  }

  template <class Found>
  void find(std::string_view bytes, size_t begin, size_t end, const Found& found) const {
    long_anchors.find(traces, bytes, begin, end, found);
    middle_anchors.find(traces, bytes, begin, end, found);
    short_anchors.find(traces, bytes, begin, end, found);
  }
};

ErasureTraces::ErasureTraces(const ErasureRequest& request) : state_(std::make_unique<State>()) {
  for (const std::string& customer : request.customers) {
    state_->add_key(customer, TraceKind::kCustomer, -1);
    state_->add_key(normalize_text(customer), TraceKind::kCustomer, -1);
  }
  for (const std::string& value : request.values) state_->add_key(value, TraceKind::kValue, -1);
}

ErasureTraces::~ErasureTraces() = default;
ErasureTraces::ErasureTraces(ErasureTraces&&) noexcept = default;

void ErasureTraces::add(const Conversation& erased) {
  const auto document = static_cast<int64_t>(state_->documents++);
  state_->add_key(erased.id, TraceKind::kDocumentId, document);
  for (const Message& message : erased.messages) {
    state_->add_pieces(message.content, document);
    state_->add_pieces(message.reasoning, document);
  }
}

bool ErasureTraces::keep(const Conversation& kept) {
  state_->get_ready();
  bool named = false;
  const auto mark = [&](const std::string& text) {
    state_->find(text, 0, text.size(), [&](uint32_t i, size_t) {
      const Trace& trace = state_->traces[i];
      state_->traces[trace.piece].shared = true;
      named = named || trace.kind == TraceKind::kCustomer || trace.kind == TraceKind::kValue;
    });
  };
  mark(conversation_text(kept));
  for (const Message& message : kept.messages) {  // as they are, for pieces that end where JSON escapes
    mark(message.content);
    mark(message.reasoning);
  }
  return named;
}

void ErasureTraces::add_bytes(TraceKind kind, std::string bytes) {
  check(bytes.size() >= 4, "a trace must have at least 4 bytes, found ", bytes.size());
  state_->add(std::move(bytes), kind, -1, false);
}

size_t ErasureTraces::documents() const { return state_->documents; }
size_t ErasureTraces::documents_without_piece() const {
  std::set<int64_t> with;
  for (const auto& [document, trace] : state_->pieces)
    if (!state_->traces[trace].shared) with.insert(document);
  return state_->documents - with.size();
}
size_t ErasureTraces::size() const {
  return static_cast<size_t>(std::count_if(state_->traces.begin(), state_->traces.end(),
                                           [&](const Trace& trace) { return !state_->is_shared(trace); }));
}

TraceScanner::TraceScanner(const ErasureTraces& traces, std::string file, ErasureReport& report)
    : traces_(traces), file_(std::move(file)), report_(report) {
  traces_.state_->get_ready();
  ++report_.files;
}

void TraceScanner::scan(size_t end, bool last) {
  if (end > scanned_) {
    std::vector<std::tuple<size_t, TraceKind, int64_t>> places;
    traces_.state_->find(buffer_, scanned_, end, [&](uint32_t i, size_t at) {
      const Trace& trace = traces_.state_->traces[i];
      if (!traces_.state_->is_shared(trace)) places.emplace_back(at, trace.kind, trace.document);
    });
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    report_.found += places.size();
    for (const auto& [at, kind, document] : places)
      if (found_ < ErasureReport::kMaxLeftoversPerFile) {
        report_.leftovers.push_back({file_, buffer_offset_ + at, kind, document});
        ++found_;
      }
    scanned_ = end;
  }
  if (last || scanned_ < 2) return;
  buffer_.erase(0, scanned_ - 1);  // one byte stays, for where a word begins
  buffer_offset_ += scanned_ - 1;
  scanned_ = 1;
}

void TraceScanner::feed(std::string_view bytes) {
  constexpr size_t kStep = size_t{1} << 20;
  for (size_t at = 0; at < bytes.size(); at += kStep) {
    const std::string_view step = bytes.substr(at, kStep);
    report_.bytes += step.size();
    buffer_ += step;
    const size_t beyond =
        traces_.state_->longest + 1;  // a trace that begins here must be whole, with a byte after it
    if (buffer_.size() > beyond + kStep / 2) scan(buffer_.size() - beyond, false);
  }
}

void TraceScanner::finish() {
  scan(buffer_.size(), true);
  buffer_.clear();
}

namespace {

bool is_compressed(std::string_view bytes) {
  return bytes.starts_with("\x1f\x8b") || bytes.starts_with("\x28\xb5\x2f\xfd");
}

void scan_file(const ErasureTraces& traces, const fs::path& path, const OpenCompressed& open,
               ErasureReport& report) {
  const std::string name = path.string();
  TraceScanner scanner(traces, name, report);
  try {
    const MappedFile file(path);
    const std::string_view bytes = file.bytes();
    if (is_compressed(bytes)) {
      const bool opened = open && open(path, [&](std::string_view piece) { scanner.feed(piece); });
      if (!opened) report.unsearchable.push_back(name);
    } else {
      scanner.feed(bytes);
    }
  } catch (const Error&) {
    report.unsearchable.push_back(name);
  }
  scanner.finish();
}

}  // namespace

ErasureReport scan_for_traces(const ErasureTraces& traces, const std::vector<fs::path>& paths,
                              const OpenCompressed& open) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    check(fs::exists(path), path.string(), ": not there, so it cannot be searched for what was erased");
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(path))
      if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  ErasureReport report;
  for (const fs::path& path : files) scan_file(traces, path, open, report);
  return report;
}

}  // namespace decant
