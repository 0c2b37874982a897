package fsm

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/keysteward/keysteward/fsm/audit"
	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// Bounds of the records about refusals: a pod that repeats what is refused must
// not drive the records of changes out.
const (
	// refusalsAtOnce is how many may be recorded within a short time.
	refusalsAtOnce = 100
	// refusalEveryMS of cluster time one more may be.
	refusalEveryMS = 60_000
	// refusalMemory is how many records back a refusal is looked for, so that a
	// repeat leaves none.
	refusalMemory = 64
)

// refused leaves a record about a command that was refused, if somebody outside
// of the cluster was behind it who may do such things. Nothing was changed, so
// the record is for who looks for somebody that tries doors: a repeat is not
// recorded, nor more than the bounds allow; the next record says how many were
// left out. A refusal that only says "not now" to a client that will come again
// is no news.
func (w *write) refused(no *Refusal) {
	if !w.audited() || isOurs(w.cmd.GetCaller()) || no.Code == StaleSession || no.Code == PoolShort || no.Code == RestoreUnconfirmed {
		return
	}
	action, object := subject(w.cmd)
	a := &fsmpb.Audit{
		Version: audit.Version, Term: w.term, Caller: w.auditCaller(), Action: action, Object: brief(object),
		Outcome: audit.Refused(string(no.Code)), Detail: brief(no.Detail),
	}
	if w.repeated(a) || !w.mayRecordRefusal() {
		w.meta.AuditLeftOut++
		return
	}
	if n := w.meta.GetAuditLeftOut(); n > 0 {
		a.Detail = brief(plural(int(n), "earlier refusal") + " left out; " + a.GetDetail()) //nolint:gosec // counted one by one
		w.meta.AuditLeftOut = 0
	}
	w.append(a)
}

// isOurs reports whether a part of the cluster itself, and no caller, is behind a command.
func isOurs(c *fsmpb.Caller) bool {
	return c.GetName() == "" || c.GetRole() == "duty" || c.GetRole() == "member"
}

// repeated reports whether the same was refused to the same caller a short while ago.
func (w *write) repeated(a *fsmpb.Audit) bool {
	newest := w.meta.GetNextAudit()
	for seq := newest; seq > 0 && newest-seq < refusalMemory; seq-- {
		b := first[*fsmpb.Audit](w.txn, tableAudit, orderKey(seq))
		if b == nil {
			return false
		}
		if sameCaller(a.GetCaller(), b.GetCaller()) && b.GetAction() == a.GetAction() &&
			b.GetObject() == a.GetObject() && b.GetOutcome() == a.GetOutcome() {
			return true
		}
	}
	return false
}

// sameCaller reports whether two are one by what they proved, not by their name
// alone, which somebody else's certificate or token may have too. Callers of older
// entries have a name only.
func sameCaller(a, b *fsmpb.Caller) bool {
	return a.GetName() == b.GetName() && a.GetMethod() == b.GetMethod() && a.GetCredential() == b.GetCredential()
}

// mayRecordRefusal takes one of the places for refusals; cluster time gives them back.
func (w *write) mayRecordRefusal() bool {
	since := w.meta.GetClusterTimeMs() - w.meta.GetAuditRefusalsAtMs()
	back := since / refusalEveryMS
	w.meta.AuditRefusalsAtMs += back * refusalEveryMS
	w.meta.AuditRefusals -= uint32(min(back, uint64(w.meta.GetAuditRefusals()))) //nolint:gosec // at most what it was
	if w.meta.GetAuditRefusals() >= refusalsAtOnce {
		return false
	}
	w.meta.AuditRefusals++
	return true
}

// subject is what a refused command would have done, and to what. A command that
// is not listed goes by the name that it has in the protocol.
func subject(c *fsmpb.Command) (action, object string) {
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_Allocate:
		return "allocation.request", podName(b.Allocate.GetPod())
	case *fsmpb.Command_Release:
		return "allocation.release", b.Release.GetNamespace() + "/" + b.Release.GetPod()
	case *fsmpb.Command_ConfirmStopped:
		return "key.proof", hexName(b.ConfirmStopped.GetPubkey())
	case *fsmpb.Command_RetireKeys:
		return "key.retire", hexNames(b.RetireKeys.GetPubkeys())
	case *fsmpb.Command_ImportKeys:
		return "key.import", ""
	case *fsmpb.Command_InstallSeed:
		return "seed.install", SecretSeed
	case *fsmpb.Command_CreateToken:
		return "token.create", tokenID(b.CreateToken.GetToken())
	case *fsmpb.Command_RevokeToken:
		return "token.revoke", b.RevokeToken.GetId()
	case *fsmpb.Command_FinishRestore:
		return "restore.finish", b.FinishRestore.GetClusterId()
	case *fsmpb.Command_ConfirmRestore:
		return "restore.confirm", ""
	case *fsmpb.Command_ConfirmToken:
		return "token.confirm", b.ConfirmToken.GetId()
	case *fsmpb.Command_ResumeDeposits:
		return "deposits.resume", hexName(b.ResumeDeposits.GetAccount())
	}
	if action, object = cloudSubject(c); action != "" {
		return action, object
	}
	m := c.ProtoReflect()
	if f := m.WhichOneof(m.Descriptor().Oneofs().ByName(commandBody)); f != nil {
		return string(f.Name()), ""
	}
	return "", ""
}

// cloudSubject is subject for logical clouds, empty for other commands.
func cloudSubject(c *fsmpb.Command) (action, object string) {
	switch b := c.GetBody().(type) {
	case *fsmpb.Command_PutObject:
		kind, _ := objectNames(b.PutObject.GetObject())
		if b.PutObject.GetReplace() {
			return actionNames[kind] + ".change", objectPath(b.PutObject.GetObject())
		}
		return actionNames[kind] + ".create", objectPath(b.PutObject.GetObject())
	case *fsmpb.Command_DeleteObject:
		kind, _ := objectNames(b.DeleteObject.GetObject())
		return actionNames[kind] + ".delete", objectPath(b.DeleteObject.GetObject())
	case *fsmpb.Command_ActOnCloud:
		return "cloud." + actionTexts[b.ActOnCloud.GetAction()], b.ActOnCloud.GetProject() + "/" + b.ActOnCloud.GetCloud()
	case *fsmpb.Command_DiscloseKubeconfig:
		return "kubeconfig.disclose", b.DiscloseKubeconfig.GetProject() + "/" + b.DiscloseKubeconfig.GetCloud()
	}
	return "", ""
}

// commandBody is the name of the oneof that holds a command's body.
const commandBody protoreflect.Name = "body"

// hexNames lists public keys, as many as fit a record.
func hexNames(list [][]byte) string {
	names := make([]string, len(list))
	for i, b := range list {
		names[i] = hexName(b)
	}
	return briefList(names)
}
