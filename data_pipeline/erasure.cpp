#include "data_pipeline/erasure.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/hash.h"

namespace decant {

namespace {

std::string tag_text(const CustomerTag& tag) {
  std::string bytes(sizeof tag, '\0');
  std::memcpy(bytes.data(), tag.data(), sizeof tag);
  return to_hex(bytes);
}

CustomerTag tag_of(const std::string& hex, const std::string& where) {
  const bool good = hex.size() == 32 && std::all_of(hex.begin(), hex.end(), [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                    });
  check(good, where, ": a customer must be 32 hexadecimal digits");
  CustomerTag tag{};
  for (size_t i = 0; i < 16; ++i)
    reinterpret_cast<uint8_t*>(tag.data())[i] =
        static_cast<uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  return tag;
}

}  // namespace

CustomerTag customer_tag(const std::string& secret, const std::string& tenant, const std::string& customer) {
  const auto digest = hmac_sha256(secret, "customer" + std::string(1, '\0') + tenant + '\0' + customer);
  CustomerTag tag{};
  std::memcpy(tag.data(), digest.data(), sizeof tag);
  return tag;
}

bool Erasure::includes(const Erasure& other) const {
  return std::includes(customers.begin(), customers.end(), other.customers.begin(), other.customers.end()) &&
         std::includes(records.begin(), records.end(), other.records.begin(), other.records.end());
}

void Erasure::add(const Erasure& other) {
  customers.insert(other.customers.begin(), other.customers.end());
  records.insert(other.records.begin(), other.records.end());
}

Json erasure_json(const Erasure& erasure) {
  Json json = {{"customers", Json::array()}, {"records", Json::array()}};
  for (const CustomerTag& tag : erasure.customers) json["customers"].push_back(tag_text(tag));
  std::sort(json["customers"].begin(), json["customers"].end());
  for (const auto& [file, offset] : erasure.records) json["records"].push_back(Json::array({file, offset}));
  return json;
}

Erasure read_erasure(const std::filesystem::path& path) {
  return parse_erasure(read_json(path), path.string());
}

Erasure parse_erasure(const Json& json, const std::string& where) {
  const bool good = json.is_object() && json.contains("customers") && json["customers"].is_array() &&
                    json.contains("records") && json["records"].is_array();
  check(good, where, ": expected an object with the lists 'customers' and 'records'");
  Erasure erasure;
  for (const Json& tag : json["customers"]) {
    check(tag.is_string(), where, ": a customer must be 32 hexadecimal digits");
    erasure.customers.insert(tag_of(tag.get<std::string>(), where));
  }
  for (const Json& record : json["records"]) {
    check(record.is_array() && record.size() == 2 && record[0].is_string() && record[1].is_number_unsigned(),
          where, ": a record must be [sha256 of its file, byte offset]");
    erasure.records.insert({record[0].get<std::string>(), record[1].get<uint64_t>()});
  }
  return erasure;
}

}  // namespace decant
