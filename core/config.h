// Config structs: each field is named once, in `visit`, and reading, `decant help`, the resolved recipe and
// the unknown-key error all walk that list (the idea of gemma.cpp's util/args.h).
//
//   struct LoraConfig {
//     int64_t rank = 16;
//     static void visit(auto& c, auto&& field) {
//       field("rank", c.rank, "inner dimension of the two factors");
//     }
//     void validate(const Place& place) const {          // optional
//       check(rank >= 1, place("rank"), ": must be at least 1, found ", rank);
//     }
//   };
//   auto lora = read_config<LoraConfig>(*root.find("lora"), "lora");
//
// Field types: bool, int64_t, double, std::string, an enum with `EnumNames<E>` (below), a struct with visit,
// a Setting (kept as written: settings that are laid over a struct later, with read_struct), and
// std::optional, std::vector and std::map<std::string, T> of these. A field for results-neutral settings
// (log intervals, folders) may be marked: field("every", c.every, "...", kDoesNotAffectResults), which keeps
// it out of a step's key.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/setting.h"

namespace decant {

struct NeutralTag {};
inline constexpr NeutralTag kDoesNotAffectResults{};

// Specialise for each enum: `static constexpr std::pair<E, const char*> values[] = {...};`
template <class E>
struct EnumNames;

// "monthly.yaml:12:3: 'lora.rank'" for a key that was written, the section's place for one that was not.
class Place {
 public:
  Place(const Setting* section, std::string path) : section_(section), path_(std::move(path)) {}
  std::string operator()(std::string_view key) const;

 private:
  const Setting* section_;
  std::string path_;
};

std::string dotted(const std::string& path, std::string_view key);

// The nearest of `known` within an edit distance that a typo explains; empty when none.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);
// " (did you mean 'lora.rank'?)" or "".
std::string did_you_mean(const std::string& path, std::string_view name,
                         const std::vector<std::string>& known);

bool read_bool(const Setting& s, const std::string& path);
int64_t read_int(const Setting& s, const std::string& path);
double read_double(const Setting& s, const std::string& path);
std::string read_text(const Setting& s, const std::string& path);
const Setting& expect_list(const Setting& s, const std::string& path);
const Setting& expect_map(const Setting& s, const std::string& path);

namespace config_detail {

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_map : std::false_type {};
template <class T>
struct is_map<std::map<std::string, T>> : std::true_type {};

struct NoField {
  template <class... A>
  void operator()(A&&...) const {}
};

}  // namespace config_detail

template <class T>
concept ConfigStruct = requires(T& t, config_detail::NoField f) {
  T::visit(t, f);
};

template <class T>
std::vector<std::string> field_names() {
  std::vector<std::string> names;
  T value{};
  T::visit(value, [&](const char* name, auto&, const char*, auto...) { names.emplace_back(name); });
  return names;
}

template <class T>
void read_value(const Setting& s, const std::string& path, T& out);

template <ConfigStruct T>
void read_struct(const Setting& section, const std::string& path, T& out) {
  if (section.kind != Setting::Kind::kNull) expect_map(section, path);
  const auto known = field_names<T>();
  for (const auto& [key, value] : section.members) {
    bool found = false;
    for (const auto& name : known) found = found || name == key;
    check(found, value.key_where, ": unknown key '", dotted(path, key), "'", did_you_mean(path, key, known));
  }
  T::visit(out, [&](const char* name, auto& field, const char*, auto...) {
    if (const Setting* s = section.find(name)) read_value(*s, dotted(path, name), field);
  });
  if constexpr (requires(const Place& p) { out.validate(p); }) out.validate(Place(&section, path));
}

template <class T>
void read_value(const Setting& s, const std::string& path, T& out) {
  using namespace config_detail;
  if constexpr (std::is_same_v<T, bool>) {
    out = read_bool(s, path);
  } else if constexpr (std::is_integral_v<T>) {
    static_assert(std::is_same_v<T, int64_t>, "config integers are int64_t");
    out = read_int(s, path);
  } else if constexpr (std::is_floating_point_v<T>) {
    out = read_double(s, path);
  } else if constexpr (std::is_same_v<T, std::string>) {
    out = read_text(s, path);
  } else if constexpr (std::is_same_v<T, Setting>) {
    out = s;
  } else if constexpr (std::is_enum_v<T>) {
    const std::string text = read_text(s, path);
    std::vector<std::string> known;
    for (const auto& [value, name] : EnumNames<T>::values) {
      if (text == name) {
        out = value;
        return;
      }
      known.emplace_back(name);
    }
    std::string list;
    for (const auto& name : known) list += (list.empty() ? "" : ", ") + name;
    fail(s.where, ": '", path, "' must be one of ", list, ", found '", text, "'",
         did_you_mean("", text, known));
  } else if constexpr (is_optional<T>::value) {
    if (s.kind == Setting::Kind::kNull) {
      out.reset();
    } else {
      out.emplace();
      read_value(s, path, *out);
    }
  } else if constexpr (is_vector<T>::value) {
    out.clear();
    const Setting& list = expect_list(s, path);
    for (size_t i = 0; i < list.items.size(); ++i)
      read_value(list.items[i], concat(path, "[", i, "]"), out.emplace_back());
  } else if constexpr (is_map<T>::value) {
    out.clear();
    for (const auto& [key, value] : expect_map(s, path).members)
      read_value(value, dotted(path, key), out[key]);
  } else {
    static_assert(ConfigStruct<T>, "not a config type");
    read_struct(s, path, out);
  }
}

// `path` is the dotted name of the section ("" for a whole recipe). Unknown keys, wrong types and values that
// validate() refuses are Errors with their place.
template <ConfigStruct T>
T read_config(const Setting& section, const std::string& path) {
  T out{};
  read_struct(section, path, out);
  return out;
}

// --- writing
// ---------------------------------------------------------------------------------------------------

std::string yaml_text(std::string_view text);  // quoted when a reader could take it for something else
std::string yaml_double(double value);         // shortest text that reads back to the same bits
std::string write_setting(const Setting& setting, int indent);  // as it was written, without comments

template <class T>
std::string write_value(const T& value, int indent, bool all);

template <ConfigStruct T>
std::string write_config(const T& config, int indent = 0, bool all = true) {
  std::string out;
  T::visit(const_cast<T&>(config), [&](const char* name, auto& field, const char*, auto... tags) {
    if (!all && sizeof...(tags) > 0) return;
    out +=
        std::string(static_cast<size_t>(indent), ' ') + name + ":" + write_value(field, indent, all) + "\n";
  });
  return out;
}

// The config fields that affect results, as text: part of a step's key.
template <ConfigStruct T>
std::string config_key(const T& config) {
  return write_config(config, 0, false);
}

template <class T>
std::string write_value(const T& value, int indent, bool all) {
  using namespace config_detail;
  if constexpr (std::is_same_v<T, bool>) {
    return value ? " true" : " false";
  } else if constexpr (std::is_integral_v<T>) {
    return " " + std::to_string(value);
  } else if constexpr (std::is_floating_point_v<T>) {
    return " " + yaml_double(value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return " " + yaml_text(value);
  } else if constexpr (std::is_same_v<T, Setting>) {
    return write_setting(value, indent);
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [v, name] : EnumNames<T>::values)
      if (v == value) return std::string(" ") + name;
    return " ?";
  } else if constexpr (is_optional<T>::value) {
    return value ? write_value(*value, indent, all) : std::string(" null");
  } else if constexpr (is_vector<T>::value) {
    if (value.empty()) return " []";
    std::string out;
    for (const auto& item : value) {
      std::string text = write_value(item, indent + 4, all);
      if (text.starts_with("\n"))
        text = text.substr(static_cast<size_t>(indent) + 4);  // first key beside the dash
      out += "\n" + std::string(static_cast<size_t>(indent) + 2, ' ') + "-" + text;
    }
    return out;
  } else if constexpr (is_map<T>::value) {
    if (value.empty()) return " {}";
    std::string out;
    for (const auto& [key, item] : value)
      out += "\n" + std::string(static_cast<size_t>(indent) + 2, ' ') + yaml_text(key) + ":" +
             write_value(item, indent + 2, all);
    return out;
  } else {
    std::string text = write_config(value, indent + 2, all);
    if (text.empty()) return " {}";
    text.pop_back();
    return "\n" + text;
  }
}

// --- help
// ------------------------------------------------------------------------------------------------------

struct HelpLine {
  std::string key, default_value, help;
};

// Every key of T with its default and meaning; nested structs as dotted keys.
template <ConfigStruct T>
std::vector<HelpLine> config_help(const std::string& path) {
  std::vector<HelpLine> lines;
  T config{};
  T::visit(config, [&](const char* name, auto& field, const char* help, auto...) {
    using F = std::remove_cvref_t<decltype(field)>;
    const std::string key = dotted(path, name);
    if constexpr (ConfigStruct<F>) {
      lines.push_back({key, "", help});
      for (auto& line : config_help<F>(key)) lines.push_back(std::move(line));
    } else {
      std::string text = write_value(field, 0, true);
      if (text.starts_with("\n")) {  // a list or map: on one line
        std::string joined;
        for (size_t i = 0; i < text.size(); ++i) {
          if (text[i] != '\n') {
            joined += text[i];
            continue;
          }
          while (i + 1 < text.size() && text[i + 1] == ' ') ++i;
          if (text.compare(i + 1, 2, "- ") == 0) i += 2;  // the dash of an item, not of -1
          if (!joined.empty()) joined += ", ";
        }
        text = " [" + joined + "]";
      }
      lines.push_back({key, text.substr(1), help});
      if constexpr (config_detail::is_vector<F>::value || config_detail::is_map<F>::value ||
                    config_detail::is_optional<F>::value) {
        using Item = typename F::value_type;
        if constexpr (config_detail::is_map<F>::value) {
          if constexpr (ConfigStruct<typename F::mapped_type>)
            for (auto& line : config_help<typename F::mapped_type>(key + ".<name>"))
              lines.push_back(std::move(line));
        } else if constexpr (ConfigStruct<Item>) {
          const bool list = config_detail::is_vector<F>::value;
          for (auto& line : config_help<Item>(list ? key + "[]" : key)) lines.push_back(std::move(line));
        }
      }
    }
  });
  return lines;
}

}  // namespace decant
