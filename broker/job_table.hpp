#pragma once
// Every unended job, by number and by handle. Grows and shrinks in chunks: no single call moves more than one page or
// the directory of pages, so ten million jobs cost no stall and no doubling.

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "job.hpp"
#include "jobyard/assert.hpp"
#include "jobyard/result.hpp"

namespace jobyard::broker {

/// A vector that never moves its elements.
template <class T, std::size_t kChunk = 4096>
class ChunkedVector {
 public:
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] bool empty() const { return size_ == 0; }
    [[nodiscard]] T& operator[](std::size_t i) { return (*chunks_[i / kChunk])[i % kChunk]; }
    [[nodiscard]] const T& operator[](std::size_t i) const { return (*chunks_[i / kChunk])[i % kChunk]; }
    void push_back(const T& value) {
        if (size_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<std::array<T, kChunk>>());
        (*this)[size_++] = value;
    }
    void pop_back() {
        --size_;
        // One spare chunk is kept, so that a size that swings around a border does not allocate each time.
        if (size_ + 2 * kChunk <= chunks_.size() * kChunk) chunks_.pop_back();
    }

 private:
    std::vector<std::unique_ptr<std::array<T, kChunk>>> chunks_;
    std::size_t size_ = 0;
};

class JobTable {
 public:
    [[nodiscard]] std::size_t size() const { return count_; }
    [[nodiscard]] Job& operator[](JobHandle handle) { return jobs_[handle]; }
    [[nodiscard]] const Job& operator[](JobHandle handle) const { return jobs_[handle]; }

    /// For one that will be written to soon. It begins in the first half of a cache line, and so reaches into two.
    void prefetch(JobHandle handle) const {
        const char* job = reinterpret_cast<const char*>(&jobs_[handle]);
        __builtin_prefetch(job, 1);
        __builtin_prefetch(job + sizeof(Job) - 1, 1);
    }

    /// kNoJob if there is no unended job of that number.
    [[nodiscard]] JobHandle find(JobId id) const {
        const Page* page = page_of(id.value / kPage);
        return page == nullptr ? kNoJob : page->handles[id.value % kPage];
    }

    JobHandle add(JobId id) {
        JobHandle handle = free_;
        if (handle == kNoJob) {
            handle = static_cast<JobHandle>(jobs_.size());
            jobs_.push_back({});
        } else {
            free_ = jobs_[handle].next;
            if (free_ != kNoJob) prefetch(free_);  // the next one to be added
        }
        jobs_[handle] = Job{};
        jobs_[handle].id = id;
        Page* page = page_of(id.value / kPage);
        if (page == nullptr) {
            last_number_ = id.value / kPage;
            page = last_page_ = (pages_[last_number_] = std::make_unique<Page>()).get();
        }
        JOBYARD_ASSERT(page->handles[id.value % kPage] == kNoJob);
        page->handles[id.value % kPage] = handle;
        ++page->used;
        ++count_;
        return handle;
    }

    void remove(JobHandle handle) {
        const std::uint64_t number = jobs_[handle].id.value;
        Page* page = page_of(number / kPage);
        JOBYARD_ASSERT(page != nullptr && page->handles[number % kPage] == handle);
        page->handles[number % kPage] = kNoJob;
        if (--page->used == 0) {
            last_page_ = nullptr;
            pages_.erase(number / kPage);
        }
        jobs_[handle].id = {};
        jobs_[handle].state = JobState::none;
        jobs_[handle].next = free_;
        free_ = handle;
        --count_;
    }

    /// The unended job with the smallest number of at least `from`, looking at no more than `budget` numbers; `from` is
    /// moved past what was looked at. kNoJob: none in that stretch.
    JobHandle next_from(std::uint64_t& from, std::uint64_t end, std::size_t& budget) const {
        while (from < end && budget > 0) {
            const auto page = pages_.find(from / kPage);
            --budget;
            if (page == pages_.end()) {
                from = (from / kPage + 1) * kPage;
                continue;
            }
            for (; from < end;) {
                const JobHandle handle = page->second->handles[from % kPage];
                ++from;
                if (handle != kNoJob) return handle;
                if (from % kPage == 0) break;
            }
        }
        return kNoJob;
    }

    /// Every handle ever used, ended ones (state none) included: for passes over all jobs at start-up only.
    [[nodiscard]] std::size_t handles() const { return jobs_.size(); }

 private:
    static constexpr std::uint64_t kPage = 256;
    struct Page {
        Page() { handles.fill(kNoJob); }
        std::array<JobHandle, kPage> handles;
        std::uint32_t used = 0;
    };
    [[nodiscard]] Page* page_of(std::uint64_t number) const {
        if (last_page_ != nullptr && last_number_ == number) return last_page_;
        const auto found = pages_.find(number);
        if (found == pages_.end()) return nullptr;
        last_number_ = number;
        return last_page_ = found->second.get();
    }

    ChunkedVector<Job> jobs_;
    JobHandle free_ = kNoJob;
    std::size_t count_ = 0;
    std::unordered_map<std::uint64_t, std::unique_ptr<Page>> pages_;  // by job number / kPage
    // Most lookups are in the page of the one before.
    mutable std::uint64_t last_number_ = 0;
    mutable Page* last_page_ = nullptr;
};

}  // namespace jobyard::broker
