// A Jinja template as transformers' apply_chat_template runs it: jinja2 3.1 with
// ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, {% generation %},
// raise_exception, tojson without ASCII or HTML escaping, namespaces without underscores, and strftime_now,
// whose date comes from the caller.
//
// Compiled once; render() may run in many threads. What differs from jinja2: integers beyond 64 bits can be
// shown but not computed with; include, import, extends, lipsum, random and urlize are refused; a rendering
// is bounded in steps, memory and depth, and beyond that it is an Error.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "data_pipeline/jinja/state.h"

namespace decant::jinja {

struct Program;

struct Limits {
  uint64_t steps = 20'000'000;
  uint64_t memory_bytes = uint64_t{256} << 20;
};

// In the arena that was given to render().
struct Rendering {
  const Written* pieces = nullptr;
  uint32_t count = 0;
  uint64_t bytes = 0;
  std::vector<Generation> generations;  // begin and end are bytes of the output
};

class Template {
 public:
  // Error "where: line N: ..." for what is not a template.
  Template(std::string_view text, const std::string& where);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  // The names that it may look up; a render's variables have the same order, kMissing where there is none.
  const std::vector<std::string>& variables() const;
  int64_t variable(std::string_view name) const;  // its number, or -1: the template never asks for it
  bool has_generation() const;

  // Error "line N: ..." (without the template's name and without the caller's text) when it fails.
  Rendering render(Arena& arena, const Value* variables, const Clock& clock, const Limits& limits = {}) const;

 private:
  std::unique_ptr<Program> program_;
};

// JSON as Python would have it; texts stay where they are and must outlive the value.
Value from_json(Arena& arena, const Json& json, Source source);
// "2026-11-23" or "2026-11-23 12:00[:30]". Error for what is no date.
Clock parse_clock(const std::string& text);

}  // namespace decant::jinja
