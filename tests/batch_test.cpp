// A batch whose bytes are partly its own and partly kept: to whoever reads it that makes no difference.

#include "batch.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace jobyard::broker {
namespace {

KeptBytes kept(std::string bytes) {
    auto owner = std::make_shared<const std::string>(std::move(bytes));
    return {*owner, owner};
}
std::string all_of(const Batch& batch) {
    std::string all;
    for (const std::string_view piece : batch.pieces()) all += piece;
    return all;
}

TEST(Batch, SlicesNameWhatIsCopiedAndWhatIsKeptAlike) {
    Batch batch;
    const Slice first = batch.append("first");
    const Slice large = batch.keep(kept("large one"));
    const Slice larger = batch.keep(kept("a larger one"));
    const Slice second = batch.append("second");
    const Slice nothing = batch.append("");
    const std::size_t before = batch.arena().size();
    batch.arena().append("in place");
    const Slice third = batch.appended(before);
    EXPECT_EQ(batch.view(first), "first");
    EXPECT_EQ(batch.view(large), "large one");
    EXPECT_EQ(batch.view({large.at + 6, 3}), "one");
    EXPECT_EQ(batch.view(larger), "a larger one");
    EXPECT_EQ(batch.view(second), "second");
    EXPECT_EQ(batch.view(nothing), "");
    EXPECT_EQ(batch.view(third), "in place");
    EXPECT_EQ(all_of(batch), "firstlarge onea larger onesecondin place");
    EXPECT_EQ(batch.bytes(), all_of(batch).size());
}

TEST(Batch, OperationsMayHaveTheirKeysAndValuesAnywhere) {
    Batch batch;
    const Slice whole = batch.keep(kept("abcdef"));
    batch.put(Table::chunks, batch.append(big_endian(1)), {whole.at, 3});
    batch.put(Table::chunks, big_endian(2), "own");
    batch.put(Table::chunks, batch.append(big_endian(3)), {whole.at + 3, 3});
    std::vector<std::string> values;
    for (const Op& op : batch.ops()) values.emplace_back(batch.value(op));
    EXPECT_EQ(values, (std::vector<std::string>{"abc", "own", "def"}));
    EXPECT_TRUE(batch.may_touch(Table::chunks, big_endian(3), big_endian(9)));
    EXPECT_FALSE(batch.may_touch(Table::chunks, big_endian(4), big_endian(9)));
}

TEST(Batch, IsRestoredFromItsBytes) {
    Batch batch;
    batch.put(Table::live, big_endian(7), "row");
    const Slice whole = batch.keep(kept("large"));
    batch.put(Table::chunks, batch.append(big_endian(7)), whole);
    Batch copy;
    copy.restore(9, {reinterpret_cast<const char*>(batch.ops().data()), batch.ops().size() * sizeof(Op)},
                 all_of(batch));
    EXPECT_EQ(copy.seq, 9U);
    ASSERT_EQ(copy.ops().size(), 2U);
    EXPECT_EQ(copy.key(copy.ops()[1]), big_endian(7));
    EXPECT_EQ(copy.value(copy.ops()[1]), "large");
    EXPECT_EQ(copy.kept(copy.ops()[1].value).owner, nullptr);
}

TEST(Batch, HoldsTheOwnersUntilItIsCleared) {
    auto owner = std::make_shared<const std::string>("large");
    const std::weak_ptr<const std::string> watch = owner;
    Batch batch;
    const Slice slice = batch.keep({*owner, owner});
    owner.reset();
    KeptBytes part = batch.kept({slice.at + 1, 2});
    EXPECT_EQ(part.bytes, "ar");
    batch.clear();
    EXPECT_EQ(batch.bytes(), 0U);
    EXPECT_FALSE(watch.expired()) << "a part has it, too";
    part = {};
    EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace jobyard::broker
