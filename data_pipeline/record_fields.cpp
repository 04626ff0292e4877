#include "data_pipeline/record_fields.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"

namespace decant {

namespace {

bool plain_text(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// "2026-02-17T09:00" and "2026/02/17" belong to 2026-02.
std::string period_of(std::string text, std::string_view key) {
  if (text.empty() || is_period(text)) return text;
  if (text.size() > 7 && text[4] == '/') text[4] = '-';
  const bool date = text.size() > 7 && (text[7] == '-' || text[7] == '/' || text[7] == ' ') &&
                    is_period(std::string_view(text).substr(0, 7));
  check(date, "'", key, "' must be YYYY-MM, or a date that begins so");
  return text.substr(0, 7);
}

}  // namespace

JsonValue NestedJson::parse(std::string_view text, std::string_view key) {
  if (used_ == trees_.size()) trees_.push_back(std::make_unique<JsonTree>());
  JsonTree& tree = *trees_[used_++];
  const JsonFault fault = tree.parse(text, 0);
  check(fault == JsonFault::kNone, "'", key, "' is text that is not JSON");
  return tree.root();
}

RecordFields::RecordFields(JsonValue record, const SourceConfig& source, NestedJson& nested)
    : record_(record), source_(source), nested_(nested) {
  check(record.is(JsonKind::kObject), "a record must be a JSON object, found ", kind_name(record));
}

JsonValue RecordFields::value_or_absent(JsonValue value) const {
  if (!value || value.is_null()) return {};
  if (!source_.null_text.empty() && value.is(JsonKind::kString) && value.text() == source_.null_text)
    return {};
  return value;
}

JsonValue RecordFields::take(std::string_view key) {
  const JsonValue value = record_.find(key);
  if (value) taken_.push_back(value.index());
  return value_or_absent(value);
}

JsonValue RecordFields::follow(std::string_view path, bool take) {
  if (path.empty()) return {};
  if (const JsonValue whole = record_.find(path)) {
    taken_.push_back(whole.index());
    return value_or_absent(whole);
  }
  JsonValue value = record_;
  for (bool first = true; value && !path.empty(); first = false) {
    const size_t dot = std::min(path.find('.'), path.size());
    const std::string_view step = path.substr(0, dot);
    path.remove_prefix(std::min(dot + 1, path.size()));
    if (value.is(JsonKind::kArray)) {
      size_t position = 0;
      const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), position);
      const bool number = error == std::errc() && end == step.data() + step.size();
      value = number ? value.at(position) : JsonValue();
    } else {
      value = value.find(step);
    }
    if (first && take && value) taken_.push_back(value.index());
  }
  return value_or_absent(value);
}

JsonValue RecordFields::take_path(std::string_view path) { return follow(path, true); }
JsonValue RecordFields::look(std::string_view path) { return follow(path, false); }

JsonValue RecordFields::list_of(JsonValue value, std::string_view key) {
  if (!value) return {};
  if (value.is(JsonKind::kString)) {
    const size_t first = value.text().find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    if (value.text()[first] == '[') value = nested_.parse(value.text(), key);
  }
  check(value.is(JsonKind::kArray), "'", key, "' must be a list, found ", kind_name(value));
  return value;
}

JsonValue RecordFields::take_list(std::string_view key) { return list_of(take(key), key); }

void read_label(JsonValue label, std::string_view key, Conversation& c) {
  if (!label) return;
  std::string text(label.is(JsonKind::kString) ? label.text() : std::string_view());
  if (text.empty()) append_json(text, label);
  const bool wanted = text == "true" || text == "True" || text == "1";
  if (!wanted && text != "false" && text != "False" && text != "0")
    fail("'", key, "' must be true or false, found another ",
         label.is(JsonKind::kString) ? "text" : kind_name(label));
  c.judged = true;
  c.rejected = !wanted;
}

std::string text_of(JsonValue value, std::string_view key) {
  if (!value || value.is_null()) return {};
  if (!value.is(JsonKind::kString)) fail("'", key, "' must be text, found ", kind_name(value));
  return std::string(value.text());
}

std::string RecordFields::take_text(std::string_view key) { return text_of(take(key), key); }

// A short text; whole numbers are taken as they are written.
std::string RecordFields::short_text(JsonValue value, std::string_view key) const {
  if (!value) return {};
  const bool whole =
      value.is(JsonKind::kNumber) && value.text().find_first_of(".eE") == std::string_view::npos;
  if (!whole && !value.is(JsonKind::kString)) fail("'", key, "' must be text, found ", kind_name(value));
  const std::string_view text = value.text();
  if (text.size() > kMaxIdBytes)
    fail("'", key, "' has ", text.size(), " bytes, at most ", kMaxIdBytes, " are taken");
  if (!plain_text(text)) fail("'", key, "' holds a control character");
  return std::string(text);
}

void RecordFields::read_head(Conversation& c) {
  const FieldMap& map = source_.fields;
  const auto read = [&](const std::string& path, std::string_view own) {
    if (!path.empty()) return short_text(look(path), path);
    return short_text(take(own), own);
  };
  c.id = read(map.id, "id");
  c.tenant = read(map.tenant, "tenant");
  c.customer = read(map.customer, "customer");
  c.period = read(map.period, "period");
  if (!map.period.empty()) c.period = period_of(std::move(c.period), map.period);
  if (!c.period.empty() && !is_period(c.period)) fail("'period' must be YYYY-MM");
  if (c.tenant.empty()) c.tenant = source_.tenant.empty() ? "default" : source_.tenant;
  if (c.period.empty()) c.period = source_.period;
}

void RecordFields::read_meta(Conversation& c) {
  for (const JsonValue member : record_) {
    if (member.is_null()) continue;
    if (std::find(taken_.begin(), taken_.end(), member.index()) != taken_.end()) continue;
    const std::string_view key = member.key();
    // The place in the file that was read replaces an older one.
    if (key == "source" && member.find("file") && member.find("byte_offset")) continue;
    if (key != "meta") {
      c.meta[std::string(key)] = to_json(member, true);
      continue;
    }
    if (member.is(JsonKind::kString)) {  // a column of that name
      c.meta["meta"] = to_json(member, true);
      continue;
    }
    check(member.is(JsonKind::kObject), "'meta' must be an object, found ", kind_name(member));
    for (const JsonValue item : member) c.meta[std::string(item.key())] = to_json(item, true);
  }
}

}  // namespace decant
