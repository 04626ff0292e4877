#include "data_pipeline/ledger.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "core/error.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail_sqlite(sqlite3* database, const fs::path& path) {
  const int code = sqlite3_errcode(database);
  const std::string what = sqlite3_errmsg(database);
  if (code == SQLITE_FULL || code == SQLITE_IOERR) fail_try_again(path.string(), ": ", what);
  fail(path.string(), ": ", what);
}

void run(sqlite3* database, const fs::path& path, const char* statement) {
  if (sqlite3_exec(database, statement, nullptr, nullptr, nullptr) != SQLITE_OK) fail_sqlite(database, path);
}

constexpr const char* kTable =
    "CREATE TABLE entries (document INTEGER NOT NULL, tenant TEXT NOT NULL, id TEXT NOT NULL, "
    "file TEXT NOT NULL, line INTEGER NOT NULL, byte_offset INTEGER NOT NULL, fate TEXT NOT NULL, "
    "stage TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL)";

}  // namespace

struct Ledger::Impl {
  fs::path path, temporary;
  sqlite3* database = nullptr;
  sqlite3_stmt* insert = nullptr;
  bool committed = false;

  void close() {
    sqlite3_finalize(insert);
    sqlite3_close(database);
    insert = nullptr;
    database = nullptr;
  }
};

Ledger::Ledger(fs::path path) : impl_(new Impl) {
  impl_->path = std::move(path);
  impl_->temporary = fs::path(impl_->path) += ".tmp";
  fs::remove(impl_->temporary);
  try {
    if (sqlite3_open(impl_->temporary.c_str(), &impl_->database) != SQLITE_OK)
      fail_sqlite(impl_->database, impl_->path);
    // The file is written whole before it has its name: no journal is needed.
    for (const char* statement : {"PRAGMA page_size = 4096", "PRAGMA journal_mode = OFF",
                                  "PRAGMA synchronous = OFF", "PRAGMA temp_store = FILE", "BEGIN", kTable})
      run(impl_->database, impl_->path, statement);
    if (sqlite3_prepare_v2(impl_->database, "INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?)", -1,
                           &impl_->insert, nullptr) != SQLITE_OK)
      fail_sqlite(impl_->database, impl_->path);
  } catch (...) {
    impl_->close();
    delete impl_;
    throw;
  }
}

Ledger::~Ledger() {
  impl_->close();
  std::error_code ignored;
  if (!impl_->committed) fs::remove(impl_->temporary, ignored);
  delete impl_;
}

void Ledger::add(const LedgerEntry& e) {
  sqlite3_stmt* s = impl_->insert;
  const auto text = [&](int column, const std::string& value) {
    sqlite3_bind_text(s, column, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
  };
  sqlite3_bind_int64(s, 1, static_cast<sqlite3_int64>(e.document));
  text(2, e.tenant);
  text(3, e.id);
  text(4, e.file);
  sqlite3_bind_int64(s, 5, static_cast<sqlite3_int64>(e.line));
  sqlite3_bind_int64(s, 6, static_cast<sqlite3_int64>(e.byte_offset));
  text(7, e.fate);
  text(8, e.stage);
  text(9, e.reason);
  text(10, e.detail);
  if (sqlite3_step(s) != SQLITE_DONE) fail_sqlite(impl_->database, impl_->path);
  sqlite3_reset(s);
}

void Ledger::commit() {
  run(impl_->database, impl_->path, "CREATE INDEX entries_by_id ON entries (id)");
  run(impl_->database, impl_->path, "COMMIT");
  impl_->close();
  const int file = ::open(impl_->temporary.c_str(), O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    ::fsync(file);
    ::close(file);
  }
  fs::rename(impl_->temporary, impl_->path);
  impl_->committed = true;
}

std::vector<LedgerEntry> ledger_entries(const fs::path& path, const std::string& id) {
  check(fs::is_regular_file(path), path.string(), ": no ledger");
  sqlite3* database = nullptr;
  sqlite3_stmt* select = nullptr;
  std::vector<LedgerEntry> entries;
  int status = sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READONLY, nullptr);
  if (status == SQLITE_OK)
    status = sqlite3_prepare_v2(database,
                                "SELECT document, tenant, id, file, line, byte_offset, fate, stage, reason, "
                                "detail FROM entries WHERE id = ? ORDER BY document, rowid",
                                -1, &select, nullptr);
  if (status == SQLITE_OK) {
    sqlite3_bind_text(select, 1, id.data(), static_cast<int>(id.size()), SQLITE_STATIC);
    const auto text = [&](int column) {
      const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(select, column));
      return bytes == nullptr ? std::string() : std::string(bytes);
    };
    while ((status = sqlite3_step(select)) == SQLITE_ROW)
      entries.push_back({static_cast<uint64_t>(sqlite3_column_int64(select, 0)), text(1), text(2), text(3),
                         static_cast<uint64_t>(sqlite3_column_int64(select, 4)),
                         static_cast<uint64_t>(sqlite3_column_int64(select, 5)), text(6), text(7), text(8),
                         text(9)});
  }
  const std::string what = status == SQLITE_DONE ? "" : sqlite3_errmsg(database);
  sqlite3_finalize(select);
  sqlite3_close(database);
  check(what.empty(), path.string(), ": not a readable ledger: ", what);
  return entries;
}

}  // namespace decant
