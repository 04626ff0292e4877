#include "train/checkpoint.h"

#include <ATen/ATen.h>

#include <charconv>
#include <cstdio>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/file.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kVersion = 2;

// The step of "step-0000000012"; absent for any other name.
std::optional<int64_t> step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix) || name.size() != kPrefix.size() + 10) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (error != std::errc() || stop != end) return std::nullopt;
  return step;
}

std::string name_of(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%010lld", static_cast<long long>(step));
  return name;
}

// All checkpoints by step.
std::vector<std::pair<int64_t, fs::path>> list_checkpoints(const fs::path& folder) {
  std::vector<std::pair<int64_t, fs::path>> found;
  if (!fs::is_directory(folder / "checkpoint")) return found;
  for (const auto& entry : fs::directory_iterator(folder / "checkpoint"))
    if (const auto step = step_of(entry.path().filename().string())) found.emplace_back(*step, entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

// `name` points at `target` (a sibling) from one moment to the next.
void point(const fs::path& name, const fs::path& target) {
  const fs::path temporary = fs::path(name) += ".tmp";
  fs::remove(temporary);
  fs::create_symlink(target.filename(), temporary);
  fs::rename(temporary, name);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string trimmed(const std::string& line) {
  const size_t begin = line.find_first_not_of(' ');
  return begin == std::string::npos ? "" : line.substr(begin);
}

}  // namespace

std::optional<fs::path> find_checkpoint(const fs::path& folder) {
  remove_temporaries(folder / "checkpoint");
  const auto found = list_checkpoints(folder);
  if (found.empty()) return std::nullopt;
  return found.back().second;
}

CheckpointState read_checkpoint_state(const fs::path& checkpoint) {
  const fs::path file = checkpoint / "state.json";
  const Json json = read_json(file);
  const auto member = [&](const char* key) -> const Json& {
    check(json.is_object() && json.contains(key), file.string(), ": '", key, "' is missing");
    return json[key];
  };
  const auto number = [&](const char* key) {
    const Json& value = member(key);
    check(value.is_number_integer() && value.get<int64_t>() >= 0, file.string(), ": '", key,
          "' must be a whole number that is not negative");
    return value.get<int64_t>();
  };
  const auto flag = [&](const char* key) {
    check(member(key).is_boolean(), file.string(), ": '", key, "' must be true or false");
    return json[key].get<bool>();
  };
  const auto text = [&](const char* key) {
    check(member(key).is_string(), file.string(), ": '", key, "' must be a text");
    return json[key].get<std::string>();
  };
  const auto loss = [&](const char* key) {
    check(member(key).is_number(), file.string(), ": '", key, "' must be a number");
    return json[key].get<double>();
  };
  check(number("version") == kVersion, file.string(), ": is a checkpoint of version ", number("version"),
        ", this decant reads version ", kVersion, "; remove ", checkpoint.parent_path().string(),
        " to start anew");
  CheckpointState state;
  state.step = number("step");
  state.updates = number("updates");
  state.tokens = number("tokens");
  check(member("left_out").is_array(), file.string(), ": 'left_out' must be a list of steps");
  for (const auto& step : json["left_out"]) {
    check(step.is_number_integer() && (state.left_out.empty() || step.get<int64_t>() > state.left_out.back()),
          file.string(), ": 'left_out' must be rising steps");
    state.left_out.push_back(step.get<int64_t>());
  }
  state.guard = member("guard");
  state.probe = member("probe");
  state.ended_early = flag("ended_early");
  state.first_loss = loss("first_loss");
  state.last_loss = loss("last_loss");
  state.metrics_bytes = static_cast<uint64_t>(number("metrics_bytes"));
  state.event_bytes = static_cast<uint64_t>(number("event_bytes"));
  state.config = text("config");
  state.machine = text("machine");
  state.parameters = text("parameters");
  return state;
}

std::optional<fs::path> checkpoint_of_step(const fs::path& folder, int64_t step) {
  const fs::path path = folder / "checkpoint" / name_of(step);
  return fs::is_directory(path) ? std::optional(path) : std::nullopt;
}

void save_checkpoint(const fs::path& folder, const CheckpointState& state, const NamedTensors& optimizer,
                     int64_t keep, int64_t best_step) {
  fs::create_directories(folder / "checkpoint");
  Json json;
  json["version"] = kVersion;
  json["step"] = state.step;
  json["updates"] = state.updates;
  json["tokens"] = state.tokens;
  json["first_loss"] = state.first_loss;
  json["last_loss"] = state.last_loss;
  json["metrics_bytes"] = state.metrics_bytes;
  json["event_bytes"] = state.event_bytes;
  json["left_out"] = state.left_out;
  json["guard"] = state.guard;
  json["probe"] = state.probe;
  json["ended_early"] = state.ended_early;
  json["config"] = state.config;
  json["machine"] = state.machine;
  json["parameters"] = state.parameters;
  const auto before = list_checkpoints(folder);
  const fs::path target = folder / "checkpoint" / name_of(state.step);
  write_folder(target, [&](const fs::path& temporary) {
    write_tensors(temporary / "optimizer.safetensors", optimizer);
    write_json(temporary / "state.json", json);
  });
  point(folder / "checkpoint" / "latest", target);
  if (best_step > 0 && checkpoint_of_step(folder, best_step))
    point(folder / "checkpoint" / "best", name_of(best_step));
  // Those that a rewind left behind it are of steps that are done anew, so they go too.
  std::vector<fs::path> leave;
  int64_t kept = 1;
  for (auto one = before.rbegin(); one != before.rend(); ++one) {
    if (one->first == state.step || one->first == best_step) continue;
    if (one->first < state.step && kept < keep)
      ++kept;
    else
      leave.push_back(one->second);
  }
  // Renamed before it is removed: a half-removed checkpoint must not look like a whole one.
  for (const auto& path : leave) {
    const fs::path leaving = fs::path(path) += ".tmp";
    fs::rename(path, leaving);
    fs::remove_all(leaving);
  }
}

CheckpointWriter::~CheckpointWriter() {
  if (writing_.valid()) writing_.wait();
}

void CheckpointWriter::write(const fs::path& folder, const CheckpointState& state, NamedTensors optimizer,
                             int64_t keep, int64_t best_step) {
  wait();
  writing_ = std::async(std::launch::async, [=, tensors = std::move(optimizer)]() mutable {
    const NamedTensors mine = std::move(tensors);  // gone when it is written, not when somebody waits
    save_checkpoint(folder, state, mine, keep, best_step);
  });
}

void CheckpointWriter::wait() {
  if (writing_.valid()) writing_.get();
}

void check_same_training(const CheckpointState& saved, const CheckpointState& now, const fs::path& where) {
  const auto refuse = [&](const std::string& what, const std::string& then, const std::string& today) {
    fail(where.string(), ": this checkpoint is of another training, it cannot be resumed: ", what, " was ",
         then, ", is now ", today, "; put that back, or remove ", where.parent_path().string(),
         " to start anew");
  };
  if (saved.config != now.config) {
    const auto old_lines = lines_of(saved.config), new_lines = lines_of(now.config);
    std::string section;
    for (size_t i = 0; i < std::max(old_lines.size(), new_lines.size()); ++i) {
      const std::string a = i < old_lines.size() ? old_lines[i] : "",
                        b = i < new_lines.size() ? new_lines[i] : "";
      if (!a.starts_with(' ')) section.clear();
      if (a != b) refuse("the setting", "'" + section + trimmed(a) + "'", "'" + section + trimmed(b) + "'");
      if (a.ends_with(':')) section += trimmed(a) + " ";
    }
  }
  if (saved.machine != now.machine)
    refuse("the machine (threads, instruction set)", saved.machine, now.machine);
  if (saved.parameters != now.parameters)
    refuse("the set of trained tensors (names, shapes, dtypes)", saved.parameters.substr(0, 12),
           now.parameters.substr(0, 12));
}

uint64_t checkpoint_bytes(const NamedTensors& optimizer, int64_t count) {
  uint64_t bytes = uint64_t{1} << 20;
  for (const auto& [name, tensor] : optimizer) bytes += tensor.nbytes() + 256;
  return static_cast<uint64_t>(count) * bytes;
}

}  // namespace decant
