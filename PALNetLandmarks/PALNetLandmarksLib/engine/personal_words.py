"""Words for `PALNetLandmarksLib.engine.personal_data`: given names, and words that are never taken for a name."""

_GIVEN = """
aaron adam ali ahmed alan albert alberto alejandro alessandra alessandro alessia alexander alexandra alexis alice alicia
amanda amelia amy ana andrea andreas andrew angela anja anna anne annette anthony antoine antonella antonio ashley
barbara beatrice benjamin bernd bernhard betty birgit brandon brenda brian bruno camille carla carlo carlos carol
caroline catherine cecilia charles charlotte chiara chloe christian christina christine christopher claire claudia
claudio cristina cynthia daniel daniela daniele david deborah denise dennis diana diego dieter donald donna dorothy
edward elena eleonora elisa elisabeth elizabeth emanuele emily emma enrico eric erika ethan eva fatima federica
federico felix fernando filippo florian francesca francesco francisco frank franz françois gabriel gabriele george
gerald gerhard giacomo giovanni giulia giuseppe gloria gregory hannah hans heather heidi heinz helen helena helga henry
ibrahim ilaria ingrid irene isabella isabelle jacob jacqueline jakob james jan janet jason jean jeffrey jennifer
jessica joan johann johanna john johnny jonas jonathan jorge josef joseph joshua josé juan judith julia julian juliette
justin karen karin karl katharina katherine kathleen katja kelly kenneth kevin klaus kyle larry laura lauren laurent
lena leonardo leonie linda lisa lorenzo luca lucas lucia luigi luis lukas madison manuel marco margaret maria marie
mario marta martin martina mary massimo matteo matthew matthias maurizio megan melissa michael michele michelle miguel
mohamed mohammed monica monika muhammad nancy natalia natalie nathan niccolò nicholas nicola nicolas nicole noah olivia
pablo pamela paola paolo patricia patrick paul peter petra philipp philippe pierre rachel raffaele ralf ralph raymond
rebecca renate riccardo richard robert roberta roberto roger roland ronald russell ruth ryan sabine samantha samuel
sandra sara sarah scott sean sebastian sergio sharon shirley silvia simona simone sofia sophia sophie stefan stefania
stefano stephanie stephen steven susan susanne sylvia tamara teresa theresa thomas tiffany timothy tobias tyler ulrich
ursula valentina valeria vanessa veronica vincent vincenzo virginia walter werner william wolfgang yusuf zachary
"""
_TECHNICAL = """
a academic adult agisoft albedo alias align aligned alpha ambient an and android ansys apple artec ascii assimp
autodesk average back base begin bellus beta binary black blender blinn blue body bottom box brow build bump bust by
camera canfield capture captured carestream cavity center centre cgal checkpoint cheek child chin cinema clean cleaned
clinic closed cloud cloudcompare cm collada color colors colour com comment company cone converted converter copy
cornea corp corporation count creality created creator cube cylinder dark data date daz default demo dentsply
department diffuse dmd dolphin ear ears edition einscan end engine enterprise eva example export exported exporter
exports expression eye eyeball eyes face facegen faces facescape facet facets female fidentis file files final for
forehead format from front generated generator generic geo geomagic geometry gmbh gmsh google gray green grey grid
group groups hair head heges high hospital houdini house http https ict image images import in inc inch info
information initial inner institute intel ios ipad iphone iris itero itk itseez jaw kinect kiri kitware lab laboratory
lambert lamp landmark landmarks lash lashes layer left leo library lid light limited linux lip lips low lower ltd macos
magics male map maps mat material materialise materials matlab matrix max maya mean medical medit merged mesh meshes
meshlab meshmixer metallic metashape meter meters metre metres microsoft middle mimics mm model models morpheus mouth
mtl mudbox nasal neck netfabb neutral new node none normal normals nose number numpy obj object objects occipital
occlusion of old open oral org outer paraview part parts pcl phong photogrammetry photoscan plane planmeca ply point
points poisson poly polycam polygon polygons polyworks pose pro pupil python quality rainbow raw reality realitycapture
realsense recon reconstruction red reference regard registered release research revopoint rhino rhinoceros right rigid
root roughness sample saved scale scaled scan scaniverse scanned scanner scanning scans scene scientific sclera
sculptris sensor shader shading shape shining side sirona sketchup skin skull slicer smile socket softimage software
solidworks specular sphere spider standard stanford start stereo stereophotogrammetry stl stratovan straumann structure
studio suite surface surfaces system systems technologies technology teeth template test texture textured texturefile
textures the throat time to tongue tool toolkit tools tooth top torso total transform triangle triangles trimble
trimesh trios unit units university unnamed untitled upper usc using vcglib vectra version vertex vertices viewer vtk
wavefront white windows with wrap written www zbrush
"""

GIVEN_NAMES = frozenset(_GIVEN.split())
"""Given names that are frequent where such scanners are used and that mean nothing else in a mesh file."""

TECHNICAL_WORDS = frozenset(_TECHNICAL.split())
"""Words of programs, firms, formats and anatomy: a text with one of them is not taken for two words of a name."""
