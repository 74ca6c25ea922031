#pragma once
// The access file: which keys there are, and what each may do. Read at the start and on SIGHUP.
//
//     [keys.web]
//     public_key = "…"
//     roles = ["submit"]
//     queues = ["mail", "web.*"]
//     max_jobs = 100000

#include <string>

#include "access.hpp"
#include "jobyard/result.hpp"
#include "program/settings.hpp"

namespace jobyard::broker {

/// The error says file and line, what is wrong and what was expected.
Result<Access> read_access_file(const std::string& path);

/// For the reference: the settings of a section [keys.NAME], [local], [queues.PATTERN].
std::string access_reference();

}  // namespace jobyard::broker
