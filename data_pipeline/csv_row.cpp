#include "data_pipeline/csv_row.h"

#include <algorithm>

namespace decant {

bool split_csv_row(std::string_view row, char delimiter, std::vector<std::string_view>& fields,
                   std::string& unquoted) {
  fields.clear();
  unquoted.clear();
  if (unquoted.capacity() < row.size()) unquoted.reserve(2 * row.size());  // views of it stay valid
  for (size_t at = 0;;) {
    if (at < row.size() && row[at] == '"') {
      const size_t begin = unquoted.size();
      size_t from = at + 1, quote = 0;
      for (;; from = quote + 2) {
        quote = row.find('"', from);
        if (quote == std::string_view::npos) return false;
        unquoted.append(row, from, quote - from);
        if (quote + 1 == row.size() || row[quote + 1] != '"') break;
        unquoted += '"';
      }
      fields.push_back(std::string_view(unquoted).substr(begin));
      at = quote + 1;
      if (at == row.size()) return true;
      if (row[at] != delimiter) return false;
    } else {
      const size_t end = std::min(row.find(delimiter, at), row.size());
      const std::string_view field = row.substr(at, end - at);
      if (field.find('"') != std::string_view::npos) return false;
      fields.push_back(field);
      if (end == row.size()) return true;
      at = end;
    }
    ++at;  // behind the delimiter
  }
}

}  // namespace decant
