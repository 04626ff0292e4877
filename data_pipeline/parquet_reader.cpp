// Compiled only with DECANT_PARQUET: Apache Arrow's C++ libraries do the reading, a row becomes a JSON
// object.
#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/properties.h>

#include <charconv>
#include <cmath>

#include "core/error.h"
#include "data_pipeline/file_reader.h"
#include "data_pipeline/json_tree.h"

namespace decant {

namespace {

constexpr int64_t kRowsAtATime = 256;
constexpr int64_t kBufferBytes = int64_t{1} << 20;

void append_value(std::string& out, const arrow::Array& array, int64_t row, int depth);

void append_double(std::string& out, double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  if (std::isfinite(value))
    out.append(text, end);
  else
    append_json_string(out, std::string_view(text, static_cast<size_t>(end - text)));
}

void append_items(std::string& out, const arrow::Array& items, int64_t begin, int64_t count, int depth) {
  out += '[';
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    append_value(out, items, begin + i, depth + 1);
  }
  out += ']';
}

template <class Type>
const Type& as(const arrow::Array& array) {
  return static_cast<const Type&>(array);
}

// What JSON has no type for (times, decimals) is written as Arrow prints it.
void append_printed(std::string& out, const arrow::Array& array, int64_t row) {
  const auto scalar = array.GetScalar(row);
  check(scalar.ok(), "a value cannot be read");
  append_json_string(out, (*scalar)->ToString());
}

void append_value(std::string& out, const arrow::Array& array, int64_t row, int depth) {
  check(depth < 200, "a column is nested too deeply");
  if (array.IsNull(row)) {
    out += "null";
    return;
  }
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      out += as<arrow::BooleanArray>(array).Value(row) ? "true" : "false";
      return;
    case arrow::Type::INT8:
      out += std::to_string(as<arrow::Int8Array>(array).Value(row));
      return;
    case arrow::Type::INT16:
      out += std::to_string(as<arrow::Int16Array>(array).Value(row));
      return;
    case arrow::Type::INT32:
      out += std::to_string(as<arrow::Int32Array>(array).Value(row));
      return;
    case arrow::Type::INT64:
      out += std::to_string(as<arrow::Int64Array>(array).Value(row));
      return;
    case arrow::Type::UINT8:
      out += std::to_string(as<arrow::UInt8Array>(array).Value(row));
      return;
    case arrow::Type::UINT16:
      out += std::to_string(as<arrow::UInt16Array>(array).Value(row));
      return;
    case arrow::Type::UINT32:
      out += std::to_string(as<arrow::UInt32Array>(array).Value(row));
      return;
    case arrow::Type::UINT64:
      out += std::to_string(as<arrow::UInt64Array>(array).Value(row));
      return;
    case arrow::Type::FLOAT:
      append_double(out, static_cast<double>(as<arrow::FloatArray>(array).Value(row)));
      return;
    case arrow::Type::DOUBLE:
      append_double(out, as<arrow::DoubleArray>(array).Value(row));
      return;
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      append_json_string(out, as<arrow::BinaryArray>(array).GetView(row));
      return;
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      append_json_string(out, as<arrow::LargeBinaryArray>(array).GetView(row));
      return;
    case arrow::Type::LIST:
    case arrow::Type::MAP: {  // a map is a list of {"key", "value"}
      const auto& list = as<arrow::ListArray>(array);
      append_items(out, *list.values(), list.value_offset(row), list.value_length(row), depth);
      return;
    }
    case arrow::Type::LARGE_LIST: {
      const auto& list = as<arrow::LargeListArray>(array);
      append_items(out, *list.values(), list.value_offset(row), list.value_length(row), depth);
      return;
    }
    case arrow::Type::DICTIONARY: {
      const auto& coded = as<arrow::DictionaryArray>(array);
      append_value(out, *coded.dictionary(), coded.GetValueIndex(row), depth + 1);
      return;
    }
    case arrow::Type::STRUCT: {
      const auto& object = as<arrow::StructArray>(array);
      out += '{';
      for (int i = 0; i < object.num_fields(); ++i) {
        if (i > 0) out += ',';
        append_json_string(out, object.struct_type()->field(i)->name());
        out += ':';
        append_value(out, *object.field(i), row, depth + 1);
      }
      out += '}';
      return;
    }
    default:
      append_printed(out, array, row);
  }
}

class ParquetReader : public RecordReader {
 public:
  ParquetReader(const InputFile& file, std::shared_ptr<const FileFormat> format)
      : name_(file.name), source_index_(file.source_index), format_(std::move(format)) {
    check(!file.is_standard_input(), name_,
          ": Parquet cannot be read from standard input, since its end says "
          "what it holds");
    guarded([&] {
      auto opened = arrow::io::ReadableFile::Open(file.path.string());
      must(opened.status());
      parquet::ReaderProperties properties;
      properties.enable_buffered_stream();
      properties.set_buffer_size(kBufferBytes);
      parquet::ArrowReaderProperties columns;
      columns.set_batch_size(kRowsAtATime);
      columns.set_pre_buffer(false);
      parquet::arrow::FileReaderBuilder builder;
      must(builder.Open(*opened, properties));
      must(builder.properties(columns)->Build(&file_));
      auto batches = file_->GetRecordBatchReader();
      must(batches.status());
      batches_ = std::move(*batches);
    });
  }

  bool next(RawRecord& record) override {
    while (batch_ == nullptr || row_ == batch_->num_rows()) {
      bool more = false;
      guarded([&] {
        must(batches_->ReadNext(&batch_));
        more = batch_ != nullptr;
        if (more) must(batch_->ValidateFull());
      });
      if (!more) return false;
      row_ = 0;
    }
    record = RawRecord();
    record.source = {name_, number_, number_ + 1};
    record.format = format_;
    record.source_index = source_index_;
    guarded([&] {
      record.bytes = "{";
      for (int i = 0; i < batch_->num_columns(); ++i) {
        if (i > 0) record.bytes += ',';
        append_json_string(record.bytes, batch_->column_name(i));
        record.bytes += ':';
        append_value(record.bytes, *batch_->column(i), row_, 0);
      }
      record.bytes += '}';
    });
    record.size = record.bytes.size();
    const auto limit = static_cast<uint64_t>(format_->source->max_record_bytes);
    if (record.size > limit) {
      record.bytes.clear();
      record.reason = "too_large";
      record.text = concat("a record of ", record.size, " bytes, at most ", limit);
    }
    record.bytes.reserve(record.bytes.size() + kJsonPadding);
    ++row_;
    ++number_;
    return true;
  }

 private:
  void must(const arrow::Status& status) const {
    check(status.ok(), name_, ": cannot be read as Parquet: ", status.CodeAsString());
  }
  template <class Work>
  void guarded(const Work& work) const {
    try {
      work();
    } catch (const parquet::ParquetException&) {  // its text may quote values
      fail(name_, ": cannot be read as Parquet: the file is damaged or of an unknown kind");
    }
  }

  std::string name_;
  size_t source_index_;
  std::shared_ptr<const FileFormat> format_;
  std::unique_ptr<parquet::arrow::FileReader> file_;
  std::shared_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  int64_t row_ = 0;
  uint64_t number_ = 0;
};

}  // namespace

std::unique_ptr<RecordReader> parquet_reader(const InputFile& file,
                                             std::shared_ptr<const FileFormat> format) {
  return std::make_unique<ParquetReader>(file, std::move(format));
}

}  // namespace decant
