#include "core/setting.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/file.h"

namespace decant {

namespace {

constexpr int kMaxDepth = 32;

std::string place(const std::string& name, const YAML::Mark& mark) {
  if (mark.is_null()) return name;
  return concat(name, ":", mark.line + 1, ":", mark.column + 1);
}

Setting convert(const YAML::Node& node, const std::string& name, int depth) {
  const std::string where = place(name, node.Mark());
  check(depth < kMaxDepth, where, ": nested deeper than ", kMaxDepth, " levels");
  // yaml-cpp marks quoted scalars with the tag "!", plain ones with "?".
  const std::string& tag = node.Tag();
  check(tag.empty() || tag == "!" || tag == "?", where, ": YAML tags are not used in recipes, found '", tag,
        "'");
  Setting out;
  out.where = where;
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      out.kind = Setting::Kind::kNull;
      break;
    case YAML::NodeType::Scalar:
      out.kind = Setting::Kind::kScalar;
      out.scalar = node.Scalar();
      out.quoted = tag == "!";
      break;
    case YAML::NodeType::Sequence:
      out.kind = Setting::Kind::kList;
      for (const auto& item : node) out.items.push_back(convert(item, name, depth + 1));
      break;
    case YAML::NodeType::Map: {
      std::set<std::string> seen;
      for (const auto& member : node) {
        const std::string key_where = place(name, member.first.Mark());
        const std::string& key_tag = member.first.Tag();
        check(member.first.IsScalar() && (key_tag == "?" || key_tag == "!"), key_where,
              ": expected a plain key");
        const std::string key = member.first.Scalar();
        check(key != "<<", key_where, ": merge keys are not used in recipes");
        check(seen.insert(key).second, key_where, ": the key '", key, "' stands twice");
        Setting value = convert(member.second, name, depth + 1);
        value.key_where = key_where;
        out.members.push_back({key, std::move(value)});
      }
      break;
    }
  }
  return out;
}

// yaml-cpp ends the text at some control characters and replaces what is not UTF-8: neither may pass unseen.
void check_text(const std::string& yaml, const std::string& name) {
  int line = 1, column = 1;
  for (const char c : yaml) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7f)
      fail(name, ":", line, ":", column, ": not valid YAML: the control character ", int{byte});
    column = c == '\n' ? 1 : column + 1;
    line += c == '\n' ? 1 : 0;
  }
  try {
    (void)nlohmann::json(yaml).dump();
  } catch (const nlohmann::json::exception&) {
    fail(name, ": not UTF-8 text");
  }
}

// Anchors and aliases are resolved before the tree can be seen, so they are looked for among the scanner's
// events.
class NoAnchors : public YAML::EventHandler {
 public:
  explicit NoAnchors(std::string name) : name_(std::move(name)) {}
  void OnDocumentStart(const YAML::Mark& mark) override {
    check(++documents_ == 1, place(name_, mark), ": expected one YAML document");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { refuse(mark, anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse(mark, 1); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                const std::string&) override {
    refuse(mark, anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse(mark, anchor);
    enter(mark);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse(mark, anchor);
    enter(mark);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void refuse(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    check(anchor == 0, place(name_, mark), ": YAML anchors and aliases are not used in recipes");
  }
  void enter(const YAML::Mark& mark) {
    check(++depth_ < kMaxDepth, place(name_, mark), ": nested deeper than ", kMaxDepth, " levels");
  }
  std::string name_;
  int documents_ = 0, depth_ = 0;
};

// yaml-cpp lets the end of the file close a quotation, which would swallow the rest of a recipe unseen. A
// document that follows may not begin inside of one, and that it does notice.
void check_quotes(const std::string& yaml, const std::string& name) {
  struct Nothing : YAML::EventHandler {
    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  const std::string&) override {
      if (tag == "!") last_quoted = mark;
    }
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                         YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                    YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
    YAML::Mark last_quoted;
  };
  // An unclosed quotation is the last scalar of all.
  Nothing whole, followed;
  const auto scan = [](const std::string& text, Nothing& events) {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) {
    }
  };
  scan(yaml, whole);
  try {
    scan(yaml + "\n--- end\n", followed);
  } catch (const YAML::Exception&) {
    fail(place(name, whole.last_quoted), ": not valid YAML: a quotation that does not end");
  }
}

}  // namespace

const Setting* Setting::find(std::string_view key) const {
  for (const auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}

Setting parse_settings(const std::string& yaml, const std::string& name) {
  check_text(yaml, name);
  try {
    std::istringstream events(yaml);
    YAML::Parser parser(events);
    NoAnchors handler(name);
    while (parser.HandleNextDocument(handler)) {
    }
    check_quotes(yaml, name);
    return convert(YAML::Load(yaml), name, 0);
  } catch (const YAML::Exception& e) {
    fail(place(name, e.mark), ": not valid YAML: ", e.msg);
  }
}

Setting read_settings(const std::filesystem::path& yaml) {
  return parse_settings(read_file(yaml), yaml.string());
}

void override_setting(Setting& root, const std::string& assignment) {
  const std::string where = "command line: " + assignment;
  const size_t equals = assignment.find('=');
  check(equals != std::string::npos && equals > 0, where, ": expected key=value, such as lora.rank=8");
  check(std::count(assignment.begin(), assignment.begin() + static_cast<std::ptrdiff_t>(equals), '.') <
            kMaxDepth,
        where, ": nested deeper than ", kMaxDepth, " levels");
  Setting value;
  if (const std::string text = assignment.substr(equals + 1); text.starts_with('@')) {
    // A step by name. YAML keeps '@' for itself, and the quotes that it wants rarely survive a shell.
    value.kind = Setting::Kind::kScalar;
    value.scalar = text;
    value.quoted = true;
  } else {
    value = parse_settings(text, where);
  }
  value.where = value.key_where = where;
  Setting* at = &root;
  std::string key = assignment.substr(0, equals);
  for (;;) {
    if (at->kind == Setting::Kind::kNull) at->kind = Setting::Kind::kMap;
    check(at->kind == Setting::Kind::kMap, where, ": '", key, "' lies under a value that is not a section");
    const size_t dot = key.find('.');
    const std::string head = key.substr(0, dot);
    check(!head.empty(), where, ": empty key");
    Setting* next = nullptr;
    for (auto& [name, member] : at->members)
      if (name == head) next = &member;
    if (next == nullptr) {
      Setting section;
      section.where = section.key_where = where;
      at->members.push_back({head, std::move(section)});
      next = &at->members.back().value;
    }
    if (dot == std::string::npos) {
      *next = std::move(value);
      return;
    }
    at = next;
    key = key.substr(dot + 1);
  }
}

}  // namespace decant
