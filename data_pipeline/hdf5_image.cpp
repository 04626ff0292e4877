#include "data_pipeline/hdf5_image.h"

#include <hdf5.h>

#include <mutex>
#include <stdexcept>

#include "core/error.h"

namespace decant {

namespace {

std::mutex& library_lock() {
  static std::mutex lock;
  return lock;
}

constexpr size_t kMaxTextBytes = 4096;

// A handle and how it is closed.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator hid_t() const { return id_; }
  bool ok() const { return id_ >= 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// For building: nothing there depends on the user.
hid_t made(hid_t id, const char* what) {
  if (id < 0) throw std::logic_error(concat("HDF5: cannot make ", what));
  return id;
}
void done(herr_t status, const char* what) {
  if (status < 0) throw std::logic_error(concat("HDF5: cannot ", what));
}

hid_t text_type(size_t bytes) {
  const hid_t type = made(H5Tcopy(H5T_C_S1), "a text type");
  done(H5Tset_size(type, bytes), "set a text size");
  done(H5Tset_strpad(type, H5T_STR_NULLPAD), "set the padding");
  done(H5Tset_cset(type, H5T_CSET_UTF8), "set UTF-8");
  return type;
}

hid_t file_type(const Hdf5Dataset& dataset) {
  switch (dataset.type) {
    case Hdf5Dataset::Type::kU8:
      return H5Tcopy(H5T_STD_U8LE);
    case Hdf5Dataset::Type::kU32:
      return H5Tcopy(H5T_STD_U32LE);
    case Hdf5Dataset::Type::kU64:
      return H5Tcopy(H5T_STD_U64LE);
    case Hdf5Dataset::Type::kI64:
      return H5Tcopy(H5T_STD_I64LE);
    case Hdf5Dataset::Type::kText:
      return text_type(dataset.text_bytes);
  }
  return -1;
}

void write_dataset(hid_t file, const Hdf5Dataset& dataset) {
  const Handle type(made(file_type(dataset), "a type"), H5Tclose);
  const hsize_t size = dataset.count;
  const Handle space(made(H5Screate_simple(1, &size, nullptr), "a data space"), H5Sclose);
  const Handle create(made(H5Pcreate(H5P_DATASET_CREATE), "a property list"), H5Pclose);
  done(H5Pset_layout(create, H5D_CONTIGUOUS), "set the layout");
  done(H5Pset_obj_track_times(create, false), "switch times off");
  done(H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY), "set the allocation time");
  const Handle set(made(H5Dcreate2(file, dataset.name.c_str(), type, space, H5P_DEFAULT, create, H5P_DEFAULT),
                        "a dataset"),
                   H5Dclose);
  if (dataset.count > 0)
    done(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, dataset.bytes.data()), "write a dataset");
}

void write_attribute(hid_t file, const std::string& name, hid_t type, const void* value) {
  const Handle space(made(H5Screate(H5S_SCALAR), "a data space"), H5Sclose);
  const Handle attribute(
      made(H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), "an attribute"), H5Aclose);
  done(H5Awrite(attribute, type, value), "write an attribute");
}

Hdf5Dataset read_dataset(hid_t file, std::string_view bytes, const Hdf5Dataset& wanted,
                         const std::string& where) {
  const Handle set(H5Dopen2(file, wanted.name.c_str(), H5P_DEFAULT), H5Dclose);
  check(set.ok(), where, ": no dataset '", wanted.name, "'");
  const Handle space(H5Dget_space(set), H5Sclose);
  check(space.ok() && H5Sget_simple_extent_ndims(space) == 1, where, ": dataset '", wanted.name,
        "' is not one-dimensional");
  hsize_t size = 0;
  H5Sget_simple_extent_dims(space, &size, nullptr);
  const Handle type(H5Dget_type(set), H5Tclose);
  check(type.ok(), where, ": dataset '", wanted.name, "' has no readable type");
  Hdf5Dataset found = wanted;
  found.count = size;
  if (wanted.type == Hdf5Dataset::Type::kText) {
    const bool text = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0;
    check(text && H5Tget_size(type) <= kMaxTextBytes, where, ": dataset '", wanted.name,
          "' is not text of a fixed length up to ", kMaxTextBytes);
    found.text_bytes = H5Tget_size(type);
  } else {
    const Handle expected(file_type(wanted), H5Tclose);
    check(H5Tequal(type, expected) > 0, where, ": dataset '", wanted.name,
          "' has another number type than expected");
  }
  const Handle create(H5Dget_create_plist(set), H5Pclose);
  check(create.ok() && H5Pget_layout(create) == H5D_CONTIGUOUS && H5Pget_external_count(create) == 0, where,
        ": dataset '", wanted.name, "' is not contiguous in this file");
  const uint64_t element = H5Tget_size(type);
  check(element > 0 && found.count <= bytes.size() / element, where, ": dataset '", wanted.name, "' claims ",
        found.count, " elements, the file has ", bytes.size(), " bytes");
  const uint64_t length = found.count * element;
  const haddr_t offset = length == 0 ? 0 : H5Dget_offset(set);
  check(offset != HADDR_UNDEF && offset <= bytes.size() && length <= bytes.size() - offset, where,
        ": dataset '", wanted.name, "' reaches beyond the end of the file");
  found.bytes = bytes.substr(offset, length);
  return found;
}

int64_t read_number(hid_t file, const std::string& name, const std::string& where) {
  const Handle attribute(H5Aopen(file, name.c_str(), H5P_DEFAULT), H5Aclose);
  check(attribute.ok(), where, ": no attribute '", name, "'");
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  const bool number = type.ok() && H5Tequal(type, H5T_STD_I64LE) > 0 && space.ok() &&
                      H5Sget_simple_extent_type(space) == H5S_SCALAR;
  int64_t value = 0;
  check(number && H5Aread(attribute, H5T_NATIVE_INT64, &value) >= 0, where, ": attribute '", name,
        "' is not a 64-bit number");
  return value;
}

std::string read_text(hid_t file, const std::string& name, const std::string& where) {
  const Handle attribute(H5Aopen(file, name.c_str(), H5P_DEFAULT), H5Aclose);
  check(attribute.ok(), where, ": no attribute '", name, "'");
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  const bool text = type.ok() && H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 &&
                    H5Tget_size(type) <= kMaxTextBytes && space.ok() &&
                    H5Sget_simple_extent_type(space) == H5S_SCALAR;
  check(text, where, ": attribute '", name, "' is not text of a fixed length");
  std::string value(H5Tget_size(type), '\0');
  check(H5Aread(attribute, type, value.data()) >= 0, where, ": attribute '", name, "' cannot be read");
  return value.substr(0, value.find('\0'));
}

}  // namespace

std::string hdf5_bytes(const Hdf5Content& content) {
  const std::lock_guard<std::mutex> guard(library_lock());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  const Handle access(made(H5Pcreate(H5P_FILE_ACCESS), "a property list"), H5Pclose);
  done(H5Pset_fapl_core(access, size_t{1} << 20, false), "build in memory");
  // Not from V18: its superblock has a checksum, which H5Fget_file_image leaves as it was while it clears the
  // "open" flag.
  done(H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18), "fix the version");
  const Handle create(made(H5Pcreate(H5P_FILE_CREATE), "a property list"), H5Pclose);
  done(H5Pset_obj_track_times(create, false), "switch times off");
  const Handle file(made(H5Fcreate("shard.h5", H5F_ACC_TRUNC, create, access), "a file in memory"), H5Fclose);
  for (const auto& dataset : content.datasets) write_dataset(file, dataset);
  for (const auto& [name, value] : content.numbers) write_attribute(file, name, H5T_STD_I64LE, &value);
  for (const auto& [name, value] : content.texts) {
    const Handle type(text_type(std::max<size_t>(value.size(), 1)), H5Tclose);
    write_attribute(file, name, type, value.empty() ? "" : value.data());
  }
  done(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush");
  const ssize_t size = H5Fget_file_image(file, nullptr, 0);
  done(size < 0 ? -1 : 0, "size the file");
  std::string bytes(static_cast<size_t>(size), '\0');
  done(H5Fget_file_image(file, bytes.data(), bytes.size()) == size ? 0 : -1, "copy the file");
  return bytes;
}

Hdf5Content read_hdf5(std::string_view bytes, const Hdf5Content& wanted, const std::string& where) {
  const std::lock_guard<std::mutex> guard(library_lock());
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  check(!bytes.empty(), where, ": the file is empty");
  const Handle access(made(H5Pcreate(H5P_FILE_ACCESS), "a property list"), H5Pclose);
  done(H5Pset_fapl_core(access, size_t{1} << 20, false), "read from memory");
  done(H5Pset_file_image(access, const_cast<char*>(bytes.data()), bytes.size()), "read from memory");
  const Handle file(H5Fopen("shard.h5", H5F_ACC_RDONLY, access), H5Fclose);
  check(file.ok(), where, ": not a readable HDF5 file");
  Hdf5Content found;
  for (const auto& dataset : wanted.datasets)
    found.datasets.push_back(read_dataset(file, bytes, dataset, where));
  for (const auto& [name, unused] : wanted.numbers)
    found.numbers.emplace_back(name, read_number(file, name, where));
  for (const auto& [name, unused] : wanted.texts)
    found.texts.emplace_back(name, read_text(file, name, where));
  return found;
}

}  // namespace decant
