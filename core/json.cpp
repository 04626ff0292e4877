#include "core/json.h"

#include <set>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace decant {

namespace {

constexpr size_t kMaxDepth = 256;

// nlohmann's text starts with "[json.exception.parse_error.101] " and quotes what was read last, which may be
// a customer's words; position and reason stand between.
std::string own_words(const Json::exception& e) {
  const std::string what = e.what();
  const size_t begin = what.find("] ");
  const std::string words = begin == std::string::npos ? what : what.substr(begin + 2);
  return words.substr(0, words.find("; last read: "));
}

// Builds the tree from the parser's events. nlohmann's own builder looks through a whole object for every new
// key, and its callback one through the whole parent at the end of every child: both are quadratic, which a
// vocabulary or a large header does not forgive.
class Builder {
 public:
  using number_integer_t = Json::number_integer_t;
  using number_unsigned_t = Json::number_unsigned_t;
  using number_float_t = Json::number_float_t;
  using string_t = Json::string_t;
  using binary_t = Json::binary_t;

  explicit Builder(const std::string& where) : where_(where) {}
  Json take() { return std::move(root_); }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(number_integer_t value) { return add(value); }
  bool number_unsigned(number_unsigned_t value) { return add(value); }
  bool number_float(number_float_t value, const string_t&) { return add(value); }
  bool string(string_t& value) { return add(std::move(value)); }
  bool binary(binary_t&) { return false; }
  bool start_object(size_t) { return open(Json::object()); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_array() { return close(); }
  bool end_object() {
    keys_.pop_back();
    return close();
  }
  bool key(string_t& name) {
    if (!keys_.back().insert(name).second)
      fail(where_, ": the JSON key '", name, "' stands twice in one object");
    key_ = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) {
    constexpr int kNumberTooLarge = 406;  // its text quotes the number
    if (e.id == kNumberTooLarge)
      fail(where_, ": not valid JSON: the number that ends at byte ", position, " is too large for a double");
    fail(where_, ": not valid JSON: ", own_words(e));
  }

 private:
  bool add(Json value) {
    put(std::move(value));
    return true;
  }
  Json* put(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      auto& items = open_.back()->get_ref<Json::array_t&>();
      return &items.emplace_back(std::move(value));
    }
    auto& members = open_.back()->get_ref<Json::object_t&>();
    members.emplace_back(std::move(key_), std::move(value));  // ordered_map is a vector of pairs
    return &members.back().second;
  }
  bool open(Json value) {
    if (open_.size() >= kMaxDepth) fail(where_, ": JSON nested deeper than ", kMaxDepth, " levels");
    if (value.is_object()) keys_.emplace_back();
    // The parent is not added to while its child is open, so the pointer stays valid.
    open_.push_back(put(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  Json root_;
  std::string key_;
  std::vector<Json*> open_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  // nlohmann takes a NUL for the end of the text; JSON has none outside of escapes.
  const size_t nul = text.find('\0');
  check(nul == std::string_view::npos, where, ": not valid JSON: a NUL byte at offset ", nul);
  Builder builder(where);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(MappedFile(path).bytes(), path.string());
}

void write_json(const std::filesystem::path& path, const Json& json) {
  std::string text;
  try {
    text = json.dump(2);
  } catch (const Json::exception& e) {  // text that is not UTF-8
    fail(path.string(), ": cannot be written as JSON: ", own_words(e));
  }
  write_file(path, text + "\n");
}

}  // namespace decant
