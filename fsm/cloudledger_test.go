package fsm

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/keysteward/keysteward/fsm/fsmpb"
)

// TestAnyCloudSequence is [TestAnySequence] for logical clouds: several machines
// take the same random commands, and a ledger that knows nothing of the code says
// what may be.
func TestAnyCloudSequence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, anyCloudSequence)
}

func anyCloudSequence(t *rapid.T) {
	s := &sequence{t: t, single: New(), many: []*Machine{New(), New(), New()}, ledger: newLedger(), term: 1}
	s.world = look(s.single.View())
	s.run(begin(t)...)
	l := &cloudLedger{keys: map[uint64]string{}, issued: map[string]uint64{}, born: map[uint64]string{}, used: map[uint64]bool{}}
	for _, o := range []*fsmpb.Object{
		testProject("p"), testProject("q"), testProvider("cp"), testCluster("cp", "k"),
		testCloud("p", "c"), testPermission("p", "c", "u", "ns"), testReference("p", "c", "r"),
	} {
		s.run(command(1, 1, &fsmpb.PutObject{Object: o}))
	}
	for range rapid.IntRange(1, 40).Draw(t, "commands") {
		before := s.single.View()
		c := command(s.term, rapid.Int64Range(0, 9).Draw(t, "wall"), drawCloudBody(t, before))
		results := s.runFor(c)
		l.check(t, before, c, results, s.single.View())
		s.swapMachines()
	}
}

// runFor is run for one command, with its result.
func (s *sequence) runFor(c *fsmpb.Command) Result {
	s.run(c)
	return s.last
}

// cloudLedger is what was seen from outside.
type cloudLedger struct {
	keys   map[uint64]string // by generation, the key that was installed
	issued map[string]uint64 // certificates by PEM, of which generation
	born   map[uint64]string // which cloud a generation is of
	used   map[uint64]bool   // generations and revisions that were given
}

func (l *cloudLedger) check(t rapid.TB, before *View, c *fsmpb.Command, res Result, after *View) {
	t.Helper()
	if res.Refusal == nil {
		l.accepted(t, before, c)
	}
	for cloud := range after.AllClouds() {
		name := cloud.GetProject() + "/" + cloud.GetMetadata().GetName()
		g := cloud.GetGeneration()
		if g == 0 {
			require.Nil(t, cloud.GetKey())
			continue
		}
		was := before.Cloud(cloud.GetProject(), cloud.GetMetadata().GetName())
		if was.GetGeneration() != g {
			require.False(t, l.used[g], "generation %d is given twice", g)
			l.born[g], l.used[g] = name, true
		}
		require.Equal(t, name, l.born[g])
		if cloud.GetKey() != nil {
			require.Equal(t, l.keys[g], string(cloud.GetKey().GetSealed()), "a key of another generation")
			require.True(t, IsUp(cloud), "a key of a cloud that is %s", StateText(cloud.GetState()))
		}
		l.certificates(t, cloud, after)
	}
}

func (l *cloudLedger) certificates(t rapid.TB, cloud *fsmpb.LogicalCloud, after *View) {
	t.Helper()
	all, removed := true, true
	for row := range after.Certificates(cloud.GetProject(), cloud.GetMetadata().GetName()) {
		if row.GetPem() != "" {
			require.Equal(t, cloud.GetGeneration(), l.issued[row.GetPem()], "served after its generation ended")
			require.True(t, IsUp(cloud))
			require.NotNil(t, cloud.GetKey())
		}
		all = all && row.GetPem() != "" && row.GetApplied() == row.GetWanted()
		removed = removed && row.GetRemoved()
	}
	switch cloud.GetState() {
	case fsmpb.CloudState_CLOUD_STATE_INSTANTIATED:
		require.True(t, all, "instantiated, and not everything is there")
	case fsmpb.CloudState_CLOUD_STATE_TERMINATED:
		require.True(t, removed, "terminated, and not everything is gone")
	default:
	}
}

// accepted follows a command that was not refused.
func (l *cloudLedger) accepted(t rapid.TB, before *View, c *fsmpb.Command) {
	t.Helper()
	switch {
	case c.GetInstallCloudKey() != nil:
		k := c.GetInstallCloudKey()
		require.Empty(t, l.keys[k.GetGeneration()], "a generation has two keys")
		require.Equal(t, k.GetGeneration(), before.Cloud(k.GetProject(), k.GetCloud()).GetGeneration())
		l.keys[k.GetGeneration()] = string(k.GetKey().GetSealed())
	case c.GetObserveCertificates() != nil:
		for _, o := range c.GetObserveCertificates().GetObservations() {
			row := before.Certificate(o.GetProject(), o.GetCloud(), o.GetReference())
			if o.GetKind() != fsmpb.CertificateObservation_KIND_ISSUED || l.issued[o.GetPem()] != 0 {
				continue
			}
			if o.GetGeneration() == row.GetGeneration() && o.GetRound() == row.GetRound() {
				l.issued[o.GetPem()] = o.GetGeneration()
			}
		}
	case c.GetDiscloseKubeconfig() != nil:
		d := c.GetDiscloseKubeconfig()
		cloud := before.Cloud(d.GetProject(), d.GetCloud())
		require.True(t, IsUp(cloud) && cloud.GetGeneration() == d.GetGeneration())
		for _, reference := range d.GetReferences() {
			require.Equal(t, d.GetGeneration(), l.issued[before.Certificate(d.GetProject(), d.GetCloud(), reference).GetPem()])
		}
	case c.GetDeleteObject() != nil:
		kind, names := objectNames(c.GetDeleteObject().GetObject())
		if kind == kindReference {
			cloud := before.Cloud(names[0], names[1])
			require.False(t, IsUp(cloud) || cloud.GetState() == fsmpb.CloudState_CLOUD_STATE_TERMINATING)
		}
	}
}

// drawCloudBody draws a command about logical clouds, mostly one that fits.
func drawCloudBody(t *rapid.T, v *View) proto.Message {
	project := rapid.SampledFrom([]string{"p", "p", "p", "q"}).Draw(t, "project")
	cloud := rapid.SampledFrom([]string{"c", "c", "c", "d"}).Draw(t, "cloud")
	reference := rapid.SampledFrom([]string{"r", "r", "s"}).Draw(t, "reference")
	switch rapid.SampledFrom([]string{"put", "put", "delete", "act", "act", "key", "key", "request", "request", "see", "see", "see", "see", "disclose"}).Draw(t, "what") {
	case "put":
		return &fsmpb.PutObject{Object: drawCloudObject(t, project, cloud, reference), Replace: oneIn(t, 4, "replace")}
	case "delete":
		return &fsmpb.DeleteObject{Object: drawCloudObject(t, project, cloud, reference)}
	case "act":
		return &fsmpb.ActOnCloud{Project: project, Cloud: cloud, Action: fsmpb.ActOnCloud_Action(rapid.SampledFrom([]int32{1, 1, 1, 2, 3, 4, 0}).Draw(t, "action"))}
	case "key":
		g := v.Cloud(project, cloud).GetGeneration() - uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "late"))
		c := &fsmpb.InstallCloudKey{Project: project, Cloud: cloud, Generation: g, Key: testCloudKey(g)}
		c.Key.Sealed = under(1, fmt.Sprint("key ", g, rapid.IntRange(0, 1).Draw(t, "leader")))
		if row := v.Certificate(project, cloud, reference); row != nil {
			c.Requests = append(c.Requests, nextRequest(row))
		}
		return c
	case "request":
		x := nextRequest(v.Certificate(project, cloud, reference))
		x.Project, x.Cloud, x.Reference = project, cloud, reference
		x.Round -= uint64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "late"))
		return &fsmpb.RequestCertificates{Requests: []*fsmpb.CertificateRequest{x}}
	case "disclose":
		return &fsmpb.DiscloseKubeconfig{Project: project, Cloud: cloud, Generation: v.Cloud(project, cloud).GetGeneration(), References: []string{reference}}
	}
	return observations(drawSeen(t, v, project, cloud, reference))
}

func drawSeen(t *rapid.T, v *View, project, cloud, reference string) *fsmpb.CertificateObservation {
	row := v.Certificate(project, cloud, reference)
	o := &fsmpb.CertificateObservation{
		Kind:    fsmpb.CertificateObservation_Kind(rapid.SampledFrom([]int32{1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8, 9, 9, 10, 0}).Draw(t, "seen")),
		Project: project, Cloud: cloud, Reference: reference, Generation: row.GetGeneration(), Round: row.GetRound(),
		RequestUid: "uid", Revision: row.GetWanted(), Code: rapid.SampledFrom([]string{"", "w", CodeStuck}).Draw(t, "code"),
		Pem: fmt.Sprintf("pem %d %d %s", row.GetGeneration(), row.GetRound(), reference), Serial: "1", NotBeforeWallMs: 1, NotAfterWallMs: 10,
	}
	switch {
	case oneIn(t, 8, "generation"):
		o.Generation += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(t, "other")
		o.Pem = "pem of another generation"
	case oneIn(t, 8, "round"):
		o.Round += rapid.SampledFrom([]uint64{1, ^uint64(0)}).Draw(t, "other")
		o.Pem = "pem of another round"
	case oneIn(t, 8, "uid"):
		o.RequestUid = rapid.SampledFrom([]string{"", "other"}).Draw(t, "uid")
	}
	return o
}

func drawCloudObject(t *rapid.T, project, cloud, reference string) *fsmpb.Object {
	o := rapid.SampledFrom([]*fsmpb.Object{
		testProject(project), testProvider("cp"), testCluster("cp", "k"), testCloud(project, cloud), testCloud(project, cloud),
		testReference(project, cloud, reference), testReference(project, cloud, reference), testPermission(project, cloud, "u", "ns"),
		testQuota(project, cloud, "w"), testKeyValues(project, cloud, "w"),
	}).Draw(t, "object")
	if oneIn(t, 4, "key") {
		o.CreatedWith = "1"
	}
	if c := o.GetCloud(); c != nil && oneIn(t, 3, "other") {
		c.Metadata.Description = "other"
	}
	return o
}
