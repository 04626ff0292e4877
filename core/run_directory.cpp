#include "core/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/instruction_set.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr const char* kManifest = "manifest.json";
constexpr const char* kStepKey = "step.key";  // present while the folder's content belongs to the key in it
constexpr uintmax_t kRemembered = 1 << 20;

std::atomic<int64_t> run_threads{0};

// The step's own files by relative path; a folder inside that is another step's ("lora" and "lora/acme") is
// left out.
std::vector<fs::path> own_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
    if (!it->is_symlink() && it->is_directory()) {
      if (fs::exists(it->path() / kStepKey)) it.disable_recursion_pending();
      continue;
    }
    files.push_back(it->path().lexically_relative(folder));
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The key file goes first: a kill in the middle of clearing leaves a folder without one, which is cleared
// again.
void clear_step(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  fs::remove(folder / kStepKey);
  for (const auto& file : own_files(folder)) fs::remove(folder / file);
  std::vector<fs::path> empty;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
    if (!it->is_directory()) continue;
    if (fs::exists(it->path() / kStepKey))
      it.disable_recursion_pending();
    else
      empty.push_back(it->path());
  }
  std::sort(empty.rbegin(), empty.rend());  // the inner ones first
  std::error_code holds_another_step;
  for (const auto& path : empty) fs::remove(path, holds_another_step);
}

void remove_own_temporaries(const fs::path& folder) {
  for (const auto& file : own_files(folder))
    if (std::any_of(file.begin(), file.end(),
                    [](const fs::path& part) { return part.extension() == ".tmp"; }))
      fs::remove(folder / file);
}

bool has_part(const fs::path& file, const std::vector<std::string>& names) {
  return std::any_of(file.begin(), file.end(), [&](const fs::path& part) {
    return std::find(names.begin(), names.end(), part.string()) != names.end();
  });
}

std::string remembered_sha256(const fs::path& file) {
  struct stat status {};
  check(::stat(file.c_str(), &status) == 0, file.string(), ": cannot be read: ", std::strerror(errno));
  if (static_cast<uintmax_t>(status.st_size) < kRemembered) return sha256_file(file);
  using Key = std::tuple<std::string, dev_t, ino_t, off_t, int64_t, int64_t, int64_t, int64_t>;
  static std::mutex mutex;
  static std::map<Key, std::string> known;
  const Key key{
      fs::absolute(file).string(), status.st_dev,          status.st_ino,         status.st_size,
      status.st_mtim.tv_sec,       status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
  {
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(key); found != known.end()) return found->second;
  }
  std::string digest = sha256_file(file);
  const std::lock_guard lock(mutex);
  known.emplace(key, digest);
  return digest;
}

Json outputs_of(const fs::path& folder, const std::vector<std::string>& volatile_files) {
  Json outputs = Json::object();
  for (const auto& file : own_files(folder)) {
    if (file == kManifest || file == kStepKey || has_part(file, volatile_files)) continue;
    check(fs::is_regular_file(fs::symlink_status(folder / file)), (folder / file).string(),
          ": a step's outputs must be plain files");
    outputs[file.generic_string()] = remembered_sha256(folder / file);
  }
  return outputs;
}

Json manifest_head(const StepKey& key) {
  Json head;
  head["step"] = key.step;
  head["version"] = key.version;
  head["key"] = "";
  head["machine"] = machine_key();
  head["config"] = key.config;
  head["inputs"] = Json::object();
  for (const auto& [name, digest] : key.inputs) head["inputs"][name] = digest;
  std::string text;
  try {
    text = head.dump();
  } catch (const Json::exception&) {
    fail("step '", key.step, "': its config or the name of an input is not valid UTF-8");
  }
  head["key"] = sha256_hex(text);
  return head;
}

void check_step_name(const std::string& step) {
  const fs::path path(step);
  const bool plain =
      !step.empty() && path.is_relative() && path.has_filename() &&
      std::none_of(path.begin(), path.end(), [](const fs::path& p) { return p == ".." || p == "."; });
  check(plain, "'", step, "' cannot be the name of a step: expected a relative path such as lora/acme");
}

// The manifest, when it is of this key and every output still has its hash; null otherwise. Damage is a
// reason to work, not an error.
Json finished(const fs::path& folder, const Json& head, const std::vector<std::string>& volatile_files) {
  if (!fs::is_regular_file(folder / kManifest)) return nullptr;
  Json manifest;
  try {
    manifest = read_json(folder / kManifest);
  } catch (const Error&) {
    return nullptr;
  }
  if (!manifest.is_object() || !manifest.contains("key") || manifest["key"] != head["key"]) return nullptr;
  if (!manifest.contains("outputs") || !manifest["outputs"].is_object()) return nullptr;
  const Json found = outputs_of(folder, volatile_files);
  for (const auto& [file, digest] : manifest["outputs"].items())
    if (!found.contains(file) || found[file] != digest) return nullptr;
  return manifest;
}

}  // namespace

RunDirectory::RunDirectory(const fs::path& path) : path_(path) {
  std::error_code error;
  fs::create_directories(path_, error);
  check(!error, path_.string(), ": cannot make the folder: ", error.message());
  const fs::path lock = path_ / ".lock";
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  check(lock_ >= 0, lock.string(), ": cannot open: ", std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    ::close(lock_);
    if (reason == EWOULDBLOCK)
      fail_try_again(path_.string(),
                     ": another run holds this directory; wait until it ends and run the same command again");
    fail(lock.string(), ": cannot lock: ", std::strerror(reason));
  }
  remove_temporaries(path_);
}

RunDirectory::~RunDirectory() { ::close(lock_); }

RunDirectory::Outcome RunDirectory::step(const StepKey& key, const std::function<Json(const fs::path&)>& work,
                                         const std::vector<std::string>& volatile_files) {
  if (auto before = begin_step(key, volatile_files)) return {std::move(*before), false};
  Json figures = work(step_path(key.step));
  return {finish_step(key, std::move(figures), volatile_files), true};
}

std::optional<Json> RunDirectory::begin_step(const StepKey& key,
                                             const std::vector<std::string>& volatile_files) {
  check_step_name(key.step);
  const fs::path folder = step_path(key.step);
  const Json manifest = manifest_head(key);
  if (Json before = finished(folder, manifest, volatile_files); !before.is_null()) return before;

  // What a killed run left is kept only if it was made under this key and never finished: a finished step
  // whose outputs changed since is not to be trusted.
  const auto key_text = manifest["key"].get<std::string>() + "\n";
  const fs::path key_file = folder / kStepKey;
  const bool continues =
      fs::is_regular_file(key_file) && read_file(key_file) == key_text && !fs::exists(folder / kManifest);
  if (!continues) {
    clear_step(folder);
    write_file(key_file, key_text);
  }
  remove_own_temporaries(folder);
  return std::nullopt;
}

Json RunDirectory::finish_step(const StepKey& key, Json figures,
                               const std::vector<std::string>& volatile_files) {
  const fs::path folder = step_path(key.step);
  Json manifest = manifest_head(key);
  remove_own_temporaries(folder);
  manifest["outputs"] = outputs_of(folder, volatile_files);
  manifest["figures"] = figures.is_null() ? Json::object() : std::move(figures);
  write_json(folder / kManifest, manifest);
  return manifest;
}

void RunDirectory::reopen(const StepKey& key) {
  check_step_name(key.step);
  const fs::path folder = step_path(key.step);
  if (!fs::exists(folder / kStepKey)) return;
  fs::remove(folder / kManifest);  // first: a kill here means that the step is done anew
  write_file(folder / kStepKey, manifest_head(key)["key"].get<std::string>() + "\n");
}

bool RunDirectory::done(const StepKey& key, const std::vector<std::string>& volatile_files) const {
  check_step_name(key.step);
  return !finished(step_path(key.step), manifest_head(key), volatile_files).is_null();
}

std::string digest_path(const fs::path& path) {
  if (!fs::is_directory(path)) return remembered_sha256(path);
  const auto aside = [](const fs::path& file) {
    const std::string name = file.filename().string();
    return name == kManifest || name == kStepKey || name == "timing.jsonl" || name == "log.jsonl" ||
           name.starts_with("events.out.tfevents") || file.extension() == ".tmp";
  };
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    check(!(entry.is_symlink() && entry.is_directory()), entry.path().string(),
          ": a link to a folder cannot be part of a digest");
    if (entry.is_regular_file() && !aside(entry.path()))
      files.push_back(entry.path().lexically_relative(path));
  }
  std::sort(files.begin(), files.end());
  std::string list;
  for (const auto& file : files) list += file.generic_string() + '\0' + remembered_sha256(path / file) + '\n';
  return sha256_hex(list);
}

void set_run_threads(int64_t threads) {
  check(threads >= 1, "the number of threads must be at least 1, found ", threads);
  run_threads = threads;
}

std::string machine_key() {
  const int64_t given = run_threads;
  std::string key =
      concat("threads ", given > 0 ? given : static_cast<int64_t>(std::thread::hardware_concurrency()), ", ",
             to_string(instruction_set()));
  for (const char* name : {"ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "DECANT_KERNELS"})
    if (const char* value = std::getenv(name); value != nullptr) key += concat(", ", name, "=", value);
  return key;
}

}  // namespace decant
