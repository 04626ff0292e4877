#include "core/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace decant {

namespace {

std::string shown(const Setting& s) {
  switch (s.kind) {
    case Setting::Kind::kNull:
      return "nothing";
    case Setting::Kind::kScalar:
      return "'" + s.scalar + "'";
    case Setting::Kind::kList:
      return "a list";
    case Setting::Kind::kMap:
      return "a section";
  }
  return "?";
}

[[noreturn]] void wrong_type(const Setting& s, const std::string& path, const char* expected) {
  fail(s.where, ": '", path, "' must be ", expected, ", found ", shown(s));
}

size_t edit_distance(std::string_view a, std::string_view b) {
  // Damerau (adjacent swaps count one): 'rnak' is one typo from 'rank'.
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i)
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

}  // namespace

std::string dotted(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

std::string Place::operator()(std::string_view key) const {
  std::string where;
  if (section_ != nullptr) {
    const Setting* found = section_->find(key);
    where = found != nullptr              ? found->where
            : section_->key_where.empty() ? section_->where
                                          : section_->key_where;
  }
  return (where.empty() ? "" : where + ": ") + "'" + dotted(path_, key) + "'";
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(1, name.size() / 3) + 1;
  for (const auto& candidate : known) {
    if (std::max(name.size(), candidate.size()) - std::min(name.size(), candidate.size()) >= best_distance)
      continue;
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(const std::string& path, std::string_view name,
                         const std::vector<std::string>& known) {
  const std::string best = nearest_name(name, known);
  return best.empty() ? "" : " (did you mean '" + dotted(path, best) + "'?)";
}

bool read_bool(const Setting& s, const std::string& path) {
  if (s.kind == Setting::Kind::kScalar && !s.quoted) {
    if (s.scalar == "true") return true;
    if (s.scalar == "false") return false;
  }
  wrong_type(s, path, "true or false");
}

int64_t read_int(const Setting& s, const std::string& path) {
  int64_t value = 0;
  if (s.kind == Setting::Kind::kScalar && !s.quoted) {
    const char* end = s.scalar.data() + s.scalar.size();
    const auto [rest, error] = std::from_chars(s.scalar.data(), end, value);
    if (error == std::errc() && rest == end) return value;
  }
  wrong_type(s, path, "a whole number");
}

double read_double(const Setting& s, const std::string& path) {
  double value = 0;
  if (s.kind == Setting::Kind::kScalar && !s.quoted) {
    const char* begin = s.scalar.data();
    const char* end = begin + s.scalar.size();
    if (end - begin > 1 && begin[0] == '+' && begin[1] != '-') ++begin;
    const auto [rest, error] = std::from_chars(begin, end, value);
    if (error == std::errc() && rest == end && std::isfinite(value)) return value;
  }
  wrong_type(s, path, "a number");
}

std::string read_text(const Setting& s, const std::string& path) {
  if (s.kind != Setting::Kind::kScalar) wrong_type(s, path, "text");
  return s.scalar;
}

const Setting& expect_list(const Setting& s, const std::string& path) {
  if (s.kind != Setting::Kind::kList) wrong_type(s, path, "a list");
  return s;
}

const Setting& expect_map(const Setting& s, const std::string& path) {
  if (s.kind != Setting::Kind::kMap) wrong_type(s, path, "a section");
  return s;
}

std::string yaml_text(std::string_view text) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '/' || c == '.' || c == '-' || c >= 0x80;
  };
  const auto is = [&](std::string_view word) { return text == word; };
  const bool safe =
      !text.empty() &&
      (std::isalpha(static_cast<unsigned char>(text[0])) != 0 || text[0] == '/' || text[0] == '_') &&
      std::all_of(text.begin(), text.end(), plain) && !is("null") && !is("Null") && !is("NULL") &&
      !is("true") && !is("false");
  if (safe) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      static constexpr char kDigits[] = "0123456789abcdef";
      out += "\\x";
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[c & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string write_setting(const Setting& setting, int indent) {
  const std::string margin(static_cast<size_t>(indent) + 2, ' ');
  std::string out;
  switch (setting.kind) {
    case Setting::Kind::kNull:
      return " null";
    case Setting::Kind::kScalar: {
      if (!setting.quoted) return " " + setting.scalar;
      const std::string text = yaml_text(setting.scalar);
      return text.starts_with('"') ? " " + text : " \"" + text + "\"";
    }
    case Setting::Kind::kList:
      if (setting.items.empty()) return " []";
      for (const auto& item : setting.items) {
        std::string text = write_setting(item, indent + 4);
        if (text.starts_with("\n"))
          text = text.substr(static_cast<size_t>(indent) + 4);  // first key beside the dash
        out += "\n" + margin + "-" + text;
      }
      return out;
    case Setting::Kind::kMap:
      if (setting.members.empty()) return " {}";
      for (const auto& [key, value] : setting.members)
        out += "\n" + margin + yaml_text(key) + ":" + write_setting(value, indent + 2);
      return out;
  }
  return out;
}

std::string yaml_double(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  (void)error;
  return std::string(text, end);
}

}  // namespace decant
