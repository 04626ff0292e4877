#include "distill/generation_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "core/error.h"
#include "core/file.h"

namespace decant {

namespace {

std::string line_of(const std::string& key, const Json& record) {
  Json line;
  line["key"] = key;
  line["record"] = record;
  return line.dump() + "\n";
}

[[noreturn]] void fail_on(const std::filesystem::path& path, const char* what) {
  const int error = errno;
  throw Error(concat(path.string(), ": cannot ", what, ": ", std::strerror(error)),
              error == ENOSPC || error == EDQUOT ? Exit::kTryAgain : Exit::kUserError);
}

}  // namespace

GenerationStore::GenerationStore(const std::filesystem::path& journal) : path_(journal) {
  if (std::filesystem::exists(path_)) {
    const std::string text = read_file(path_);
    size_t begin = 0;
    for (size_t number = 1; begin < text.size(); ++number) {
      const size_t end = text.find('\n', begin);
      if (end == std::string::npos) {  // torn by a kill
        std::filesystem::resize_file(path_, begin);
        break;
      }
      const std::string where = concat(path_.string(), ":", number);
      Json line = parse_json(std::string_view(text).substr(begin, end - begin), where);
      check(line.is_object() && line.contains("key") && line["key"].is_string() && line.contains("record"),
            where, ": a line of the generation store must be an object with 'key' and 'record'");
      const bool added = records_.emplace(line["key"].get<std::string>(), line["record"]).second;
      check(added, where, ": the key ", line["key"].get<std::string>(), " stands twice");
      begin = end + 1;
    }
  }
  open_journal();
}

GenerationStore::~GenerationStore() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void GenerationStore::open_journal() {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_on(path_, "open");
}

const Json* GenerationStore::find(const std::string& key) const {
  const auto found = records_.find(key);
  return found == records_.end() ? nullptr : &found->second;
}

void GenerationStore::add(const std::string& key, const Json& record) {
  check(!records_.contains(key), path_.string(), ": the key ", key, " is there already");
  const std::string line = line_of(key, record);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t done = ::write(descriptor_, rest.data(), rest.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_on(path_, "write");
    rest.remove_prefix(static_cast<size_t>(done));
  }
  if (::fsync(descriptor_) != 0) fail_on(path_, "flush");
  records_.emplace(key, record);
}

void GenerationStore::finish(const std::vector<std::string>& keys) {
  std::set<std::string> written;
  AtomicFile file(path_);
  for (const auto& key : keys) {
    const Json* record = find(key);
    check(record != nullptr, path_.string(), ": no answer under the key ", key);
    if (written.insert(key).second) file.write(line_of(key, *record));
  }
  for (const auto& [key, record] : records_)
    if (!written.contains(key)) file.write(line_of(key, record));
  file.commit();
  ::close(descriptor_);
  open_journal();
}

}  // namespace decant
