// One row of CSV (RFC 4180) to its fields.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace decant {

// False when the row is not well formed: a quote inside a field that does not begin with one, text behind the
// closing quote, a quote that is not closed. The views are of `row`, or of `unquoted`, which must not be
// touched while they are used.
bool split_csv_row(std::string_view row, char delimiter, std::vector<std::string_view>& fields,
                   std::string& unquoted);

}  // namespace decant
