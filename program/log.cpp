#include "program/log.hpp"

#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>

namespace jobyard::program {
namespace {

using Sinks = spdlog::sinks::dist_sink_mt;  // whose sink can be replaced while other threads write to it

Result<spdlog::sink_ptr> open_sink(const LogOptions& options) {
    spdlog::sink_ptr sink;
    try {
        if (options.file.empty()) sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
        else sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    } catch (const spdlog::spdlog_ex& error) {
        return Error{Code::internal, "the log file cannot be opened: " + std::string(error.what())};
    }
    sink->set_pattern(options.pattern);
    return sink;
}

}  // namespace

Result<void> open_log(const LogOptions& options) {
    constexpr std::size_t kLines = 8192;
    auto sink = open_sink(options);
    if (!sink) return sink.error();
    spdlog::init_thread_pool(kLines, 1);
    auto logger =
        std::make_shared<spdlog::async_logger>(options.name, std::make_shared<Sinks>(std::vector{*std::move(sink)}),
                                               spdlog::thread_pool(), spdlog::async_overflow_policy::overrun_oldest);
    logger->set_level(spdlog::level::from_str(options.level));
    logger->flush_on(spdlog::level::from_str(options.flush_from));
    // Not set_pattern(): the sinks have theirs, and a later one would not get it from here.
    spdlog::set_default_logger(std::move(logger));
    return {};
}

Result<void> reopen_log(const LogOptions& options) {
    auto sink = open_sink(options);
    if (!sink) return sink.error();
    std::static_pointer_cast<Sinks>(spdlog::default_logger()->sinks().front())->set_sinks({*std::move(sink)});
    return {};
}

void log_changes(const std::vector<Change>& changes, const std::string& level) {
    spdlog::set_level(spdlog::level::info);
    for (const Change& change : changes) {
        if (change.reloadable)
            spdlog::info("reloaded: {} is {} now; it was {}", change.key, change.after, change.before);
        else
            spdlog::warn("needs a restart: {} is to be {}; it stays {} until then", change.key, change.after,
                         change.before);
    }
    if (changes.empty()) spdlog::info("reloaded: no setting has changed");
    spdlog::set_level(spdlog::level::from_str(level));
}

bool close_log() {
    constexpr std::chrono::seconds kMoment{2};
    const auto closed = std::make_shared<std::promise<void>>();
    std::thread([closed] {
        spdlog::shutdown();
        closed->set_value();
    }).detach();
    return closed->get_future().wait_for(kMoment) == std::future_status::ready;
}

}  // namespace jobyard::program
