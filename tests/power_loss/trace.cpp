#include "trace.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

namespace jobyard::power_loss {
namespace {

/// Takes one record off; false if there is no whole one.
bool take(std::string_view& left, Record& record) {
    Header header;
    if (left.size() < sizeof header) return false;
    std::memcpy(&header, left.data(), sizeof header);
    const std::string_view rest = left.substr(sizeof header);
    if (rest.size() < header.path_size || rest.size() - header.path_size < header.bytes_size) return false;
    record = {header.kind, header.id, header.offset, rest.substr(0, header.path_size),
              rest.substr(header.path_size, header.bytes_size)};
    left = rest.substr(header.path_size + header.bytes_size);
    return true;
}

}  // namespace

std::vector<Record> read_trace(std::string_view file) {
    std::vector<Record> records;
    for (Record record; take(file, record);) records.push_back(record);
    return records;
}

std::size_t whole_records(std::string_view file) {
    std::string_view left = file;
    for (Record record; take(left, record);) {
    }
    return file.size() - left.size();
}

void append_record(const std::string& file, const Record& record) {
    const Header header{record.kind, static_cast<std::uint32_t>(record.path.size()), record.id, record.offset,
                        record.bytes.size()};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    bytes.append(record.path).append(record.bytes);
    const int fd = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
        throw std::runtime_error("cannot write " + file);
    ::close(fd);
}

}  // namespace jobyard::power_loss
