#include "larder/result.h"
#include "larder/stats.h"

namespace larder {

std::string_view Name(Tier tier) {
  switch (tier) {
    case Tier::kL1:
      return "L1";
    case Tier::kL2:
      return "L2";
    case Tier::kOrigin:
      return "ORIGIN";
    case Tier::kUnspecified:
      break;
  }
  return "UNSPECIFIED";
}

std::string_view Name(MissReason reason) {
  switch (reason) {
    case MissReason::kAbsent:
      return "ABSENT";
    case MissReason::kExpired:
      return "EXPIRED";
    case MissReason::kInvalidated:
      return "INVALIDATED";
    case MissReason::kNegative:
      return "NEGATIVE";
    case MissReason::kLoading:
      return "LOADING";
    case MissReason::kTierFailed:
      return "TIER_FAILED";
    case MissReason::kRolledPast:
      return "ROLLED_PAST";
    case MissReason::kUnspecified:
      break;
  }
  return "UNSPECIFIED";
}

std::string_view Name(NotStoredReason reason) {
  switch (reason) {
    case NotStoredReason::kCondition:
      return "CONDITION";
    case NotStoredReason::kLeaseLost:
      return "LEASE_LOST";
    case NotStoredReason::kNewerExists:
      return "NEWER_EXISTS";
    case NotStoredReason::kMemoryFull:
      return "MEMORY_FULL";
    case NotStoredReason::kNamespaceLimit:
      return "NAMESPACE_LIMIT";
    case NotStoredReason::kContention:
      return "CONTENTION";
    case NotStoredReason::kTierUnavailable:
      return "TIER_UNAVAILABLE";
    case NotStoredReason::kWriteRefused:
      return "WRITE_REFUSED";
    case NotStoredReason::kWriteFailed:
      return "WRITE_FAILED";
    case NotStoredReason::kWriteUnknown:
      return "WRITE_UNKNOWN";
    case NotStoredReason::kWriteModeUnsupported:
      return "WRITE_MODE_UNSUPPORTED";
    case NotStoredReason::kJournalFull:
      return "JOURNAL_FULL";
    case NotStoredReason::kJournalUnavailable:
      return "JOURNAL_UNAVAILABLE";
    case NotStoredReason::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case NotStoredReason::kTooManyWaiters:
      return "TOO_MANY_WAITERS";
    case NotStoredReason::kDraining:
      return "DRAINING";
    case NotStoredReason::kOriginUnavailable:
      return "ORIGIN_UNAVAILABLE";
    case NotStoredReason::kOriginTimeout:
      return "ORIGIN_TIMEOUT";
    case NotStoredReason::kOverloaded:
      return "OVERLOADED";
    case NotStoredReason::kUnspecified:
      break;
  }
  return "UNSPECIFIED";
}

std::string_view Name(BreakerState state) {
  switch (state) {
    case BreakerState::kClosed:
      return "CLOSED";
    case BreakerState::kOpen:
      return "OPEN";
    case BreakerState::kHalfOpen:
      return "HALF_OPEN";
    case BreakerState::kUnspecified:
      break;
  }
  return "UNSPECIFIED";
}

std::string_view Name(TypeMatch match) {
  switch (match) {
    case TypeMatch::kRequest:
      return "REQUEST";
    case TypeMatch::kPattern:
      return "PATTERN";
    case TypeMatch::kDefault:
      return "DEFAULT";
    case TypeMatch::kUnspecified:
      break;
  }
  return "UNSPECIFIED";
}

}  // namespace larder
