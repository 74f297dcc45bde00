#include "server/store/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stepback {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

StoredGeneration Sound(uint64_t generation) { return {.generation = generation, .is_verified = true}; }
StoredGeneration Unknown(uint64_t generation) { return {.generation = generation}; }
StoredGeneration Labelled(uint64_t generation) {
  return {.generation = generation, .is_labelled = true, .is_verified = true};
}
StoredGeneration Damaged(uint64_t generation) { return {.generation = generation, .is_damaged = true}; }
StoredGeneration Unreadable(uint64_t generation) {
  return {.generation = generation, .is_readable = false, .is_damaged = true};
}

TEST(Retention, KeepsTheNewest) {
  EXPECT_THAT(ChooseRemovals({Sound(1), Sound(2), Sound(3), Sound(4)}, 2), ElementsAre(2, 1));
  EXPECT_THAT(ChooseRemovals({Sound(1), Sound(2), Sound(3), Sound(4)}, 3), ElementsAre(1));
  EXPECT_THAT(ChooseRemovals({Sound(1), Sound(2)}, 2), IsEmpty());
}

TEST(Retention, KeepsTwoWhateverIsAsked) {
  EXPECT_THAT(ChooseRemovals({Sound(1), Sound(2), Sound(3)}, 0), ElementsAre(1));
}

TEST(Retention, LabelledOnesStayAndDoNotCount) {
  EXPECT_THAT(ChooseRemovals({Labelled(1), Sound(2), Labelled(3), Sound(4), Sound(5)}, 2), ElementsAre(2));
}

TEST(Retention, DamagedOnesDoNotCountAndGoWhenSoundOnesAreAbove) {
  EXPECT_THAT(ChooseRemovals({Sound(1), Damaged(2), Sound(3)}, 2), IsEmpty());
  EXPECT_THAT(ChooseRemovals({Damaged(1), Sound(2), Sound(3), Damaged(4)}, 2), ElementsAre(1));
}

TEST(Retention, UnreadableOnesAreLeftToTheOperator) {
  EXPECT_THAT(ChooseRemovals({Unreadable(1), Sound(2), Sound(3), Sound(4)}, 2), ElementsAre(2));
}

TEST(Retention, TheLastVerifiedOneStays) {
  EXPECT_THAT(ChooseRemovals({Sound(1), Sound(2), Unknown(3), Unknown(4)}, 2), ElementsAre(1));
  EXPECT_THAT(ChooseRemovals({Sound(1), Unknown(2), Unknown(3), Labelled(4)}, 2), ElementsAre(1));
}

TEST(Retention, ARemovalNeedsAnotherVerifiedOne) {
  EXPECT_TRUE(MayRemove({Sound(1), Sound(2)}, 1));
  EXPECT_FALSE(MayRemove({Sound(1), Unknown(2)}, 1));
  EXPECT_FALSE(MayRemove({Unknown(1), Unknown(2)}, 1));
  EXPECT_TRUE(MayRemove({Labelled(1), Unknown(2)}, 2));
  EXPECT_TRUE(MayRemove({Damaged(1)}, 1));
}

}  // namespace
}  // namespace stepback
