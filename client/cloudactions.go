package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keysteward/keysteward/api/wire"
)

// CloudAction is what an operator wants to be done with a logical cloud.
type CloudAction string

// The actions.
const (
	// Instantiate brings a cloud into its clusters, with a new key.
	Instantiate CloudAction = "instantiate"
	// Update brings what has changed since into the clusters.
	Update CloudAction = "update"
	// Terminate removes a cloud from its clusters and forgets its key.
	Terminate CloudAction = "terminate"
	// RotateKey gives a cloud that is up a new key and new certificates.
	RotateKey CloudAction = "rotate-key"
)

// CloudStatus returns how far a logical cloud is, cluster by cluster.
func (c *Client) CloudStatus(ctx context.Context, project, cloud string) (wire.LogicalCloudStatus, error) {
	status, err := c.cloudStatus(ctx, project, cloud)
	if err != nil {
		return status, fmt.Errorf("status of logical cloud %s/%s: %w", project, cloud, err)
	}
	return status, nil
}

func (c *Client) cloudStatus(ctx context.Context, project, cloud string) (wire.LogicalCloudStatus, error) {
	if err := checkNames(cloudNames(project, cloud)...); err != nil {
		return wire.LogicalCloudStatus{}, err
	}
	return get[wire.LogicalCloudStatus](ctx, c, call{method: http.MethodGet, path: cloudPath(project, cloud) + "/status"})
}

// Act begins an action and returns the status as it is then; AwaitCloud waits for its
// end. A Problem of type wrong-state says that there is no such action from the state
// in which the cloud is, incomplete what it lacks.
//
// An action is not repeated blindly: rotate-key twice would be two new keys. So the
// status is read before, and after an answer that was lost it tells whether the action
// was taken. If somebody else took the same one meanwhile that counts too.
func (c *Client) Act(ctx context.Context, project, cloud string, action CloudAction) (wire.LogicalCloudStatus, error) {
	since := c.config.Clock.Now()
	before, err := c.cloudStatus(ctx, project, cloud)
	for err == nil {
		var now wire.LogicalCloudStatus
		if now, err = c.actOnce(ctx, project, cloud, action, before.Revision); err == nil {
			return now, nil
		}
		if again := errors.Is(err, errNotTaken); !again || c.config.RetryFor > 0 && c.config.Clock.Now().After(since.Add(c.config.RetryFor)) {
			break
		}
		if c.config.Clock.Sleep(ctx, c.config.BackoffMin) == nil {
			err = nil
		}
	}
	return before, fmt.Errorf("%s logical cloud %s/%s: %w", action, project, cloud, err)
}

// errNotTaken says that an answer was lost, and that the action had not been taken then.
var errNotTaken = errors.New("it had not happened when the status was read")

// actOnce sends an action once. After an answer that was lost it looks what came of it.
func (c *Client) actOnce(ctx context.Context, project, cloud string, action CloudAction, after int64) (wire.LogicalCloudStatus, error) {
	now, lost := get[wire.LogicalCloudStatus](ctx, c, call{method: http.MethodPost, path: cloudPath(project, cloud) + "/" + string(action), once: true})
	if lost == nil || !errors.Is(lost, ErrOutcomeUnknown) || ctx.Err() != nil {
		return now, lost
	}
	now, err := c.cloudStatus(ctx, project, cloud)
	if err != nil {
		return now, fmt.Errorf("%w; and then: %w", lost, err)
	}
	if !taken(now, action, after) {
		return now, fmt.Errorf("%w; %w", lost, errNotTaken)
	}
	return now, nil
}

// taken tells whether an action was taken after a revision.
func taken(s wire.LogicalCloudStatus, action CloudAction, after int64) bool {
	for _, a := range s.Actions {
		if a.Action == string(action) && a.Revision > after {
			return true
		}
	}
	return false
}

// Between two looks at a status: the first pauses are short, for what takes no time.
const (
	firstStatusPause = 50 * time.Millisecond
	statusPause      = time.Second
)

// AwaitCloud looks at a logical cloud until done says so, and tells of each look. The
// error is a CloudPendingError if ctx ended before.
func (c *Client) AwaitCloud(ctx context.Context, project, cloud string, done func(wire.LogicalCloudStatus) bool, look func(wire.LogicalCloudStatus)) (wire.LogicalCloudStatus, error) {
	var last wire.LogicalCloudStatus
	for pause := firstStatusPause; ; pause = min(2*pause, statusPause) {
		status, err := c.CloudStatus(ctx, project, cloud)
		if err == nil {
			last = status
			look(status)
			if done(status) {
				return status, nil
			}
			err = c.config.Clock.Sleep(ctx, pause)
		}
		if err != nil && last.Cloud != "" && ctx.Err() != nil {
			return last, &CloudPendingError{Status: last, Cause: ctx.Err()}
		}
		if err != nil {
			return last, err
		}
	}
}

// CloudPendingError says that time ran out while a logical cloud was on its way; it
// wraps the context's error. Waiting again goes on where this ended.
type CloudPendingError struct {
	// Status is the last one that was seen.
	Status wire.LogicalCloudStatus
	// Cause is the context's error.
	Cause error
}

// Error names the first cluster that is not ready, and why.
func (e *CloudPendingError) Error() string {
	return fmt.Sprintf("logical cloud %s/%s is still %s%s: %v", e.Status.Project, e.Status.Cloud, e.Status.State, waits(e.Status), e.Cause)
}

// waits says what the first cluster waits for that is not ready.
func waits(s wire.LogicalCloudStatus) string {
	for _, c := range s.Clusters {
		switch {
		case c.Ready || c.Step == wire.CloudStepRemoved:
		case c.Reason.Code == "":
			return fmt.Sprintf(": cluster %s waits for %s", c.Reference, c.Step)
		default:
			return fmt.Sprintf(": cluster %s waits for %s: %s (%s)", c.Reference, c.Step, c.Reason.Message, c.Reason.Code)
		}
	}
	return ""
}

// Unwrap returns the context's error.
func (e *CloudPendingError) Unwrap() error { return e.Cause }
